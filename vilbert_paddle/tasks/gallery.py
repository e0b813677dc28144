"""Scores of every picture with every caption of a split, as ranks: memory grows with a block, never with the square.

A pass over right pairs tells every query's best score; then blocks of pictures by captions are counted as they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import paddle

from pyutils import distributed
from pyutils.data.records import CaptionRecord
from pyutils.engine.task import Batch
from pyutils.metrics.retrieval import Positives, RankCounter
from vilbert_paddle.data.retrieval import caption_batch, image_batch
from vilbert_paddle.network.heads import HEADS
from vilbert_paddle.network.model import Pairing, paired
from vilbert_paddle.network.objectives import REGION_INPUTS
from vilbert_paddle.network.streams import Stream
from vilbert_paddle.tasks.base import VilbertTask

_RIGHT_BLOCK = 32  # pictures whose right pairs are scored at a time


class Gallery:
    """The pictures and captions of one split, and how a task's network scores them.

    records: one an image, with all its captions; the same on every process. head: "match" or "alignment". text_block:
    captions scored at a time.
    """

    def __init__(self, task: VilbertTask, records: Sequence[CaptionRecord], head: str, text_block: int) -> None:
        self._task, self._records, self._head, self._block = task, records, head, text_block
        lists = [record.captions for record in records]
        self.captions = [text for captions in lists for text in captions]
        self.owners = np.repeat(np.arange(len(lists)), [len(captions) for captions in lists])
        texts, images = Positives.of_captions(self.owners, len(lists))
        self._by_picture, self._by_caption = RankCounter(texts), RankCounter(images)

    def ranks(self, loader: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
        """Ranks from 0, [pictures] of text retrieval and [captions] of image retrieval, the same on every process.

        `loader`: this process's share of the pictures as batches with "index".
        """
        self._tell_right_pairs()
        everything = np.arange(len(self.captions))
        for batch in loader:
            own = batch["index"].numpy()
            pictures = self._pictures(batch)
            for start in range(0, len(everything), self._block):
                block = everything[start : start + self._block]
                scores = self._scores(self._texts(block), pictures, "every_pair").reshape([len(block), len(own)])
                self._by_caption.count(block, own, scores)
                self._by_picture.count(own, block, scores.T)
        for counter in (self._by_picture, self._by_caption):
            counter.ahead = np.sum(distributed.all_gather_objects(counter.ahead), axis=0)
        return self._by_picture.ranks(), self._by_caption.ranks()

    def _tell_right_pairs(self) -> None:
        """Score every caption with its own picture and tell all processes."""
        own = [pair for block in self._own_blocks() for pair in [self._right_pairs(block)]]
        for owners, captions, scores in (pair for pairs in distributed.all_gather_objects(own) for pair in pairs):
            self._by_picture.set_best(owners, captions, scores)
            self._by_caption.set_best(captions, owners, scores)

    def _own_blocks(self) -> Iterator[np.ndarray]:
        places = np.arange(distributed.rank(), len(self._records), distributed.world_size())
        for start in range(0, len(places), _RIGHT_BLOCK):
            yield places[start : start + _RIGHT_BLOCK]

    def _right_pairs(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(picture, caption, score) of the right pairs of the pictures `block`, each [pairs]."""
        arrays = image_batch([self._records[int(place)] for place in block], self._task.reader)
        captions = np.flatnonzero(np.isin(self.owners, block))
        owners = self.owners[captions]
        rows = paddle.to_tensor(np.searchsorted(block, owners))
        pictures = self._pictures({name: paddle.to_tensor(array) for name, array in arrays.items()})
        pictures = Stream(*(part.index_select(rows) for part in pictures))
        return owners, captions, self._scores(self._texts(captions), pictures, "rows")

    def _texts(self, captions: np.ndarray) -> Stream:
        """The text stream of captions up to the first co-attention layer."""
        task, texts = self._task, [self.captions[place] for place in captions]
        arrays = task.with_task(caption_batch(texts, task.tokenizer, task.config.max_text, task.multiple))
        return task.model.encoder.begin_text(**{name: paddle.to_tensor(array) for name, array in arrays.items()})

    def _pictures(self, batch: Batch) -> Stream:
        """The visual stream of pictures up to the first co-attention layer."""
        return self._task.model.encoder.begin_regions(**{name: batch[name] for name in REGION_INPUTS})

    def _scores(self, words: Stream, boxes: Stream, pairing: Pairing) -> np.ndarray:
        """Scores [pairs] float32, higher = fits better; pairing as in `Vilbert.forward`."""
        model, name = self._task.model, self._head
        kind = HEADS[name]
        encoded = model.encoder.co_attend(*paired(words, boxes, pairing), text=kind.text, regions=kind.regions)
        scores = kind.score(model, model.heads[name], encoded).astype("float32").numpy()
        # Class 0 of the alignment head means that both belong together; the difference orders as its probability does.
        return scores if name == "match" else scores[:, 0] - scores[:, 1]
