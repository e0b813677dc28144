"""Search with ALBEF: ITC chooses candidates, ITM ranks them (arXiv 2107.07651, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import paddle

from albef_paddle.tasks.reranking import RerankingStates, itm_scores, queries_by_item, similar_items
from pyutils.engine.evaluation import evaluating
from pyutils.engine.gallery import Chunks, Gallery
from pyutils.engine.task import Batch

if TYPE_CHECKING:
    from albef_paddle.tasks.retrieval import AlbefRetrieval


class AlbefGallery(Gallery):
    """Images encoded once; their hidden states are in a temporary file. Scores are ITM logits."""

    def __init__(self, task: AlbefRetrieval, chunks: Chunks):
        self.task, self.states = task, RerankingStates(task.model, task.config.scratch)
        with evaluating(task.model):
            self.states.add_images(self._batches(chunks))

    def _batches(self, chunks: Chunks) -> Iterator[Batch]:
        start = 0
        for keys in chunks():
            index = paddle.to_tensor(np.arange(start, start + len(keys)))
            yield {"images": self.task.pixels(keys), "index": index}
            start += len(keys)

    def scores(self, texts: Sequence[str], for_images: bool = False) -> np.ndarray:
        """See `Gallery.scores`; `k_test` candidates."""
        states, k = self.states, self.task.config.k_test
        with evaluating(self.task.model):
            states.add_texts([self.task.caption(text, self.task.config.max_tokens) for text in texts])
            features = states.image_features, states.text_features
            found = np.full((len(texts), len(features[0])), -np.inf, dtype=np.float32)
            if for_images:
                wanted = list(similar_items(*features, k))
            else:
                wanted = [rows for rows, _ in queries_by_item(similar_items(*features[::-1], k), len(features[0]))]
            for image, numbers in enumerate(wanted):
                if len(numbers):
                    found[numbers, image] = itm_scores(states, image, numbers)
        return found

    def close(self) -> None:
        self.states.__exit__()
