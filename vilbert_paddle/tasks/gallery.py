"""Ranks of all pairs of images and captions of a split. Memory grows with a block, not with the number of pairs.

A pass over right pairs finds every query's best score; then blocks of captions by images are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import paddle

from pyutils import distributed
from pyutils.data.records import CaptionRecord
from pyutils.engine.evaluation import evaluating
from pyutils.engine.gallery import Chunks, Gallery
from pyutils.engine.task import Batch
from pyutils.metrics.retrieval import Positives, RankCounter
from vilbert_paddle.data.regions import region_arrays
from vilbert_paddle.data.texts import text_batch
from vilbert_paddle.network.heads import HEADS
from vilbert_paddle.network.model import Pairing, paired
from vilbert_paddle.network.objectives import REGION_INPUTS
from vilbert_paddle.network.streams import Stream
from vilbert_paddle.tasks.base import VilbertTask

_RIGHT_BLOCK = 32  # images whose right pairs are scored at once


class PairScorer:
    """Scores texts with images by a head of a task's network, "match" or "alignment", each embedded once."""

    def __init__(self, task: VilbertTask, head: str) -> None:
        self._task, self._head = task, head

    def texts(self, texts: Sequence[str]) -> Stream:
        """Return the text stream up to the first co-attention layer."""
        task = self._task
        arrays = task.with_task(text_batch(task.tokenizer, texts, task.config.max_text, task.multiple))
        return task.model.encoder.begin_text(**{name: paddle.to_tensor(array) for name, array in arrays.items()})

    def regions(self, batch: Batch) -> Stream:
        """Return the visual stream of images up to the first co-attention layer."""
        return self._task.model.encoder.begin_regions(**{name: batch[name] for name in REGION_INPUTS})

    def images(self, keys: Sequence[str]) -> Stream:
        """Read images, and return their visual stream."""
        arrays = region_arrays(self._task.reader.read(keys))
        return self.regions({name: paddle.to_tensor(array) for name, array in arrays.items()})

    def scores(self, words: Stream, boxes: Stream, pairing: Pairing) -> np.ndarray:
        """Score pairs, [pairs] float32, higher for better ones; pairing as in `Vilbert.forward`."""
        model, name = self._task.model, self._head
        kind = HEADS[name]
        encoded = model.encoder.co_attend(*paired(words, boxes, pairing), text=kind.text, regions=kind.regions)
        scores = kind.score(model, model.heads[name], encoded).astype("float32").numpy()
        # Class 0 of the alignment head is "belongs together"; the difference orders pairs as its probability does.
        return scores if name == "match" else scores[:, 0] - scores[:, 1]


class SearchGallery(Gallery):
    """Images to search. They are read again for every call: memory does not grow with their number.

    text_block: texts scored at once.
    """

    def __init__(self, scorer: PairScorer, model: paddle.nn.Layer, chunks: Chunks, text_block: int) -> None:
        self._scorer, self._model, self._chunks, self._block = scorer, model, chunks, text_block

    def scores(self, texts: Sequence[str], for_images: bool = False) -> np.ndarray:
        columns = []
        with evaluating(self._model):
            for keys in self._chunks():
                boxes, rows = self._scorer.images(keys), []
                for start in range(0, len(texts), self._block):
                    block = texts[start : start + self._block]
                    found = self._scorer.scores(self._scorer.texts(block), boxes, "every_pair")
                    rows.append(found.reshape([len(block), len(keys)]))
                columns.append(np.concatenate(rows))
        return np.concatenate(columns, axis=1)

    def close(self) -> None:
        """Nothing is kept."""


class ImageGallery:
    """The images and captions of one split, scored by a task's network.

    records: one per image, with all its captions; the same on every process. head: "match" or "alignment". text_block:
    captions per block.
    """

    def __init__(self, task: VilbertTask, records: Sequence[CaptionRecord], head: str, text_block: int) -> None:
        self._task, self._records, self._block = task, records, text_block
        self._scorer = PairScorer(task, head)
        lists = [record.captions for record in records]
        self.captions = [text for captions in lists for text in captions]
        self.owners = np.repeat(np.arange(len(lists)), [len(captions) for captions in lists])
        texts, images = Positives.of_captions(self.owners, len(lists))
        self._by_image, self._by_caption = RankCounter(texts), RankCounter(images)

    def ranks(self, loader: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
        """Compute ranks from 0: [images] of text retrieval and [captions] of image retrieval, on every process.

        `loader`: this process's share of the images as batches with "index".
        """
        self._score_right_pairs()
        everything = np.arange(len(self.captions))
        for batch in loader:
            own = batch["index"].numpy()
            boxes = self._scorer.regions(batch)
            for start in range(0, len(everything), self._block):
                block = everything[start : start + self._block]
                scores = self._scorer.scores(self._texts(block), boxes, "every_pair").reshape([len(block), len(own)])
                self._by_caption.count(block, own, scores)
                self._by_image.count(own, block, scores.T)
        for counter in (self._by_image, self._by_caption):
            counter.ahead = np.sum(distributed.all_gather_objects(counter.ahead), axis=0)
        return self._by_image.ranks(), self._by_caption.ranks()

    def _score_right_pairs(self) -> None:
        """Score every caption with its own image, each process a share, and set the best scores everywhere."""
        images = np.arange(distributed.rank(), len(self._records), distributed.world_size())
        blocks = [images[start : start + _RIGHT_BLOCK] for start in range(0, len(images), _RIGHT_BLOCK)]
        own = [self._right_pairs(block) for block in blocks]
        for owners, captions, scores in (pair for pairs in distributed.all_gather_objects(own) for pair in pairs):
            self._by_image.set_best(owners, captions, scores)
            self._by_caption.set_best(captions, owners, scores)

    def _right_pairs(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(image, caption, score) of the right pairs of the images `block`, each [pairs]."""
        captions = np.flatnonzero(np.isin(self.owners, block))
        owners = self.owners[captions]
        rows = paddle.to_tensor(np.searchsorted(block, owners))
        boxes = self._scorer.images([self._records[int(image)].image for image in block])
        boxes = Stream(*(part.index_select(rows) for part in boxes))
        return owners, captions, self._scorer.scores(self._texts(captions), boxes, "rows")

    def _texts(self, captions: np.ndarray) -> Stream:
        """The text stream of captions."""
        return self._scorer.texts([self.captions[caption] for caption in captions])
