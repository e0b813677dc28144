"""Image-text retrieval with VisualBERT: ITC chooses candidates, the sentence-image head re-ranks them.

The paper has no such task; the objective of pre-training that tells right captions from wrong ones is its ITM.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Optional

import numpy as np
import paddle

from pyutils.config import setting
from pyutils.data.annotations import karpathy
from pyutils.data.captions import CaptionTable, identities
from pyutils.data.records import CaptionRecord
from pyutils.engine.answers import Example, Match
from pyutils.engine.evaluation import evaluating
from pyutils.engine.gallery import Chunks
from pyutils.engine.reranking import (
    DualEncoder,
    Encoded,
    PairScores,
    RerankedGallery,
    RerankingConfig,
    reranked,
)
from pyutils.engine.split_task import USUAL_TOP
from pyutils.engine.task import Batch
from pyutils.layers.contrast import itm_loss
from pyutils.metrics.classification import softmax
from pyutils.metrics.retrieval import RankPredictions
from pyutils.text import sequences
from pyutils.text.sequences import TextSequence
from visualbert_paddle.network.retrieval import Alone, VisualBertForRetrieval
from visualbert_paddle.tasks.base import VisualBertRunConfig, VisualBertTask

TEXT_INPUTS = ("input_ids", "text_mask", "token_type_ids")
REGION_INPUTS = ("region_features", "region_mask", "region_token_type_ids")


@dataclass(frozen=True)
class RetrievalConfig(RerankingConfig):
    """The `retrieval:` section of a configuration."""

    annotations: str = setting("data/flickr8k/dataset_flickr8k.json", "Karpathy's JSON with the splits.")


@dataclass(frozen=True)
class VisualBertRetrievalConfig(VisualBertRunConfig):
    """Configuration of run_retrieval.py."""

    retrieval: RetrievalConfig = setting(RetrievalConfig, "Captions and splits.")


class VisualBertRetrieval(VisualBertTask):
    """Batches: `region_features` `[b, r, d]` float32, `region_mask`, `region_token_type_ids` `[b, r]` int64; in
    training `input_ids`, `text_mask`, `token_type_ids` `[b, t]` int64 of one caption per record, and `identities` `[b]`
    int64, equal for captions of one image. Metrics: `txt_r1` … `img_r10`, `r_mean` in percent."""

    name = "visualbert_retrieval"
    best_metric = "r_mean"
    config_class = VisualBertRetrievalConfig
    example_flags = ("image", "text")

    def __init__(self, config: VisualBertRetrievalConfig):
        super().__init__(config)
        self.model = VisualBertForRetrieval(self.config.model)

    def read(self, split: str) -> Sequence[CaptionRecord]:
        """Read the images of `split` with their captions."""
        records = karpathy.read(self.config.retrieval.annotations, split)
        return self.regions.shown(self.regions.available(records, "image"))

    def train_records(self) -> CaptionTable:
        """The captions of the training split, one a record."""
        if "captions" not in self._splits:
            self._splits["captions"] = CaptionTable(self.records("train"))
        return self._splits["captions"]

    def collate(self, records: list[CaptionRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        images = [record.image for record in records]
        batch = self.region_arrays(images)
        if training:
            batch |= self.text_arrays(self._sequences([record.captions[0] for record in records]))
            batch["identities"] = identities(images)
        return batch

    def _sequences(self, texts: Sequence[str]) -> list[TextSequence]:
        limit = self.config.max_text
        return [sequences.single(self.tokenizer, ids, limit) for ids in self.tokenizer.encode_batch(texts, limit)]

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """ITC within the batch, plus ITM on its pairs and on hard negatives drawn by ITC's similarity."""
        words, boxes = self._words(batch), self._boxes(batch)
        itc = self.model.contrast(boxes.features, words.features, batch["identities"])
        if not self.config.model.contrast.itm:
            return itc.loss, {"itc": itc.loss}
        texts, images = itc.rows.texts, itc.rows.images
        pairs = [part.index_select(texts) for part in words[:2]] + [part.index_select(images) for part in boxes[:2]]
        itm = itm_loss(self.model.itm_logits(*pairs), itc.rows)
        return itc.loss + itm, {"itc": itc.loss, "itm": itm}

    def _words(self, batch: Batch) -> Alone:
        return self.model.words(*(batch[name] for name in TEXT_INPUTS))

    def _boxes(self, batch: Batch) -> Alone:
        return self.model.regions(*(batch[name] for name in REGION_INPUTS))

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Compute ITM logits `[b, 2]` of texts and images, row by row."""
        return self.model.itm_logits(*self._words(batch)[:2], *self._boxes(batch)[:2])

    def predict(self, loader: Iterable[Batch], split: str) -> RankPredictions:
        """Compute the ranks of both directions of `split`."""
        lists = [record.captions for record in self.records(split)]
        tokens = self._tokens([text for texts in lists for text in texts])
        return reranked(VisualBertTowers(self.model), self.config.retrieval, loader, tokens, lists)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return [sequence.ids for sequence in self._sequences(texts)]

    def _images(self, keys: Sequence[str]) -> Batch:
        return {name: paddle.to_tensor(array) for name, array in self.region_arrays(keys).items()}

    def match(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Match]:
        """Compute logit and probability of ITM, and the cosine of the ITC features, of each example."""
        arrays = self.text_arrays(self._sequences([example.text for example in examples]))
        batch = {name: paddle.to_tensor(array) for name, array in arrays.items()}
        with evaluating(self.model):
            words, boxes = self._words(batch), self._boxes(self._images([each.images[0] for each in examples]))
            logits = self.model.itm_logits(*words[:2], *boxes[:2]).numpy()
            cosines = (words.features * boxes.features).sum(axis=-1).numpy()
        rows = zip(logits[:, 1], softmax(logits)[:, 1], cosines)
        return [Match(score=float(logit), probability=float(p), similarity=float(cosine)) for logit, p, cosine in rows]

    def open_gallery(self, chunks: Chunks) -> RerankedGallery:
        """Encode images to search."""
        towers = VisualBertTowers(self.model)
        return RerankedGallery(self.model, towers, self.config.retrieval, self._tokens, self._images, chunks)

    pipelines: ClassVar[Mapping[str, Any]] = {
        "image-text-matching": match,
        "retrieval": open_gallery,
        **VisualBertTask.pipelines,
    }


class VisualBertTowers(DualEncoder):
    """Words and regions alone, and the sentence-image score of pairs."""

    def __init__(self, model: VisualBertForRetrieval):
        self._model = model
        self.text_width = self.image_width = model.config.hidden_size

    def texts(self, ids: paddle.Tensor, mask: Optional[paddle.Tensor]) -> Encoded:
        """See `DualEncoder.texts`."""
        return _encoded(self._model.words(ids, mask))

    def images(self, batch: Batch) -> Encoded:
        """See `DualEncoder.images`; region arrays."""
        return _encoded(self._model.regions(*(batch[name] for name in REGION_INPUTS)))

    def scorer(self, image_states: paddle.Tensor) -> PairScores:
        """See `DualEncoder.scorer`; the score is the log-odds of a match."""

        def score(states: paddle.Tensor, mask: Optional[paddle.Tensor]) -> paddle.Tensor:
            text_mask = paddle.ones(states.shape[:2]) if mask is None else mask.astype("float32")
            boxes = image_states.expand([states.shape[0], -1, -1])
            logits = self._model.itm_logits(states, text_mask, boxes, paddle.ones(boxes.shape[:2]))
            return logits[:, 1] - logits[:, 0]

        return score


def _encoded(alone: Alone) -> Encoded:
    return Encoded(alone.states, alone.mask.sum(axis=1).astype("int64").numpy().tolist(), alone.features)
