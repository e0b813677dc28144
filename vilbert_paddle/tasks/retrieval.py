"""Caption-based image retrieval with ViLBERT (arXiv 1908.02265, section 4.1), fine-tuned and zero-shot.

With `model.contrast.dim` the model is trained as a dual encoder too: ITC over the streams before co-attention, and the
alignment head on hard negatives of the batch, which re-ranks ITC's candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn

from pyutils.config import setting
from pyutils.console import say
from pyutils.data.annotations import karpathy
from pyutils.data.captions import identities
from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.engine.answers import Example, Match
from pyutils.engine.evaluation import evaluating
from pyutils.engine.gallery import Chunks, Gallery
from pyutils.engine.reranking import RerankedGallery, RerankingConfig, reranked
from pyutils.engine.split_task import USUAL_TOP
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.layers.contrast import itm_loss
from pyutils.metrics.retrieval import RankPredictions
from pyutils.text.sequences import single
from vilbert_paddle.data.hard_negatives import HardNegatives
from vilbert_paddle.data.regions import region_arrays
from vilbert_paddle.data.retrieval import CHOICES, RetrievalCaptions, four_way_batch, read_caption_lines
from vilbert_paddle.data.texts import text_batch
from vilbert_paddle.network.objectives import OBJECTIVES, REGION_INPUTS, as_choices, network_inputs
from vilbert_paddle.network.streams import Stream
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, sigmoid
from vilbert_paddle.tasks.gallery import ImageGallery, PairScorer, SearchGallery
from vilbert_paddle.tasks.towers import ITM_HEAD, VilbertTowers, itm_logits, region_stream, text_stream


@dataclass(frozen=True)
class RetrievalConfig(RerankingConfig):
    """The `retrieval:` section of a configuration."""

    annotations: str = setting("data/flickr30k/dataset_flickr30k.json", "Karpathy's JSON with the splits.")
    splits: dict[str, str] = setting(
        {}, "Split -> JSON lines of the original (id, img_path, sentences), in place of `annotations`."
    )
    hard_negatives: str = setting("", "Similar images (.npz, or hard_negative.pkl); empty: those of the batch.")
    head: Literal["match", "alignment"] = setting("match", "alignment: zero-shot, the head of pre-training.")
    text_block: int = setting(256, "Captions per block in evaluation; memory grows with it.")


@dataclass(frozen=True)
class RetrievalRunConfig(VilbertRunConfig):
    """Configuration of run_retrieval.py."""

    retrieval: RetrievalConfig = setting(RetrievalConfig, "Captions and splits.")


class RetrievalTask(VilbertTask):
    """Training batches: see `four_way_batch`, or `pair_batch` with a contrastive head; evaluation batches: region
    arrays, each image being scored with all captions of the split, or with ITC's candidates. Metrics: `txt_r1` …
    `img_r10`, `r_mean` in percent."""

    name = "vilbert_retrieval"
    best_metric = "r_mean"
    objective = "choice"
    task_number = 8
    config_class = RetrievalRunConfig

    def __init__(self, config: RetrievalRunConfig, model: nn.Layer | None = None):
        super().__init__(config, model=model)
        path = config.retrieval.hard_negatives
        self.hard = HardNegatives.load(path) if path else None

    @classmethod
    def heads_of(cls, config: RetrievalRunConfig) -> tuple[str, ...]:
        return (ITM_HEAD,) if config.model.contrast.dim else (config.retrieval.head,)

    def read(self, split: str) -> RecordTable[CaptionRecord]:
        """Read the images of `split` with their captions."""
        section = self.config.retrieval
        if split in section.splits:
            records = read_caption_lines(Path(section.splits[split]).expanduser())
        else:
            records = karpathy.read(section.annotations, split)
        return self.with_regions(records, "image")

    def train_records(self) -> RetrievalCaptions:
        """The captions of the training split, one a record."""
        if self.config.retrieval.head != "match":
            raise InputError("retrieval.head alignment is for zero-shot evaluation: give --evaluate, or train match")
        if "captions" not in self._splits:
            table = RetrievalCaptions(self.records("train"))
            if self.hard is not None:
                _check_index(self.hard, [record.image for record in table.images], self.config.retrieval.hard_negatives)
            self._splits["captions"] = table
        return self._splits["captions"]

    def collate(self, records: list[CaptionRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        if not training:
            return region_arrays(self.reader.read([record.image for record in records]))
        if self.contrasts:
            return self.pair_batch(records)
        table, limit = self.train_records(), self.config.max_text
        return self.with_task(four_way_batch(records, self.tokenizer, self.reader, limit, table, rng, self.hard))

    @property
    def contrasts(self) -> bool:
        """True if the model has a contrastive head."""
        return bool(self.config.model.contrast.dim)

    def pair_batch(self, records: Sequence[CaptionRecord]) -> dict[str, np.ndarray]:
        """Collate captions with their images row by row, and `identities` [b] int64, equal for one image."""
        images = [record.image for record in records]
        texts = text_batch(self.tokenizer, [r.captions[0] for r in records], self.config.max_text, self.multiple)
        regions = region_arrays(self.reader.read(images))
        return {**self.with_task(texts), **regions, "identities": identities(images)}

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """The four-way loss; with a contrastive head ITC plus ITM on hard negatives of the batch."""
        if not self.contrasts:
            return super().loss(batch)
        model, contrast = self.model, self.model.contrast
        ids, mask, tasks = batch["input_ids"], batch["text_mask"], batch.get("task_ids")
        words, texts = text_stream(model, contrast, ids, mask, task_ids=tasks)
        boxes, images = region_stream(model, contrast, batch)
        itc = contrast(images, texts, batch["identities"])
        if not self.config.model.contrast.itm:
            return itc.loss, {"itc": itc.loss}
        pairs = [
            Stream(*(part.index_select(rows) for part in stream))
            for stream, rows in ((words, itc.rows.texts), (boxes, itc.rows.images))
        ]
        itm = itm_loss(itm_logits(model, *pairs), itc.rows)
        return itc.loss + itm, {"itc": itc.loss, "itm": itm}

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Compute the scores [b, 4] of the four pairs of each record."""
        rows = batch["image_rows"].reshape([-1])
        if self._embeds_images_once():
            inputs = {**network_inputs(batch), "pairing": "rows", "image_rows": rows}
        else:
            repeated = {name: batch[name].index_select(rows) for name in REGION_INPUTS}
            inputs = {**network_inputs({**batch, **repeated}), "pairing": "rows"}
        return as_choices(self.model(OBJECTIVES[self.objective].head, **inputs), CHOICES)

    def _embeds_images_once(self) -> bool:
        """True if an image has the same states in every pair up to the first co-attention layer: no dropout, no visual
        layers that read the text."""
        stream = self.config.model.regions
        drawn = self.model.training and (stream.hidden_dropout or stream.attention_dropout)
        return not drawn and not (self.config.model.gated_regions and stream.first_co_attention)

    def predict(self, loader: Iterable[Batch], split: str) -> RankPredictions:
        """Rank both directions over the whole split; every process scores its own images, with all captions or, with
        a contrastive head, with the candidates of ITC."""
        section = self.config.retrieval
        if self.contrasts:
            lists = [record.captions for record in self.records(split)]
            tokens = self._tokens([text for texts in lists for text in texts])
            return reranked(self._towers(), section, loader, tokens, lists)
        gallery = ImageGallery(self, self.records(split), section.head, section.text_block)
        return RankPredictions(*gallery.ranks(loader))

    @classmethod
    def for_examples(cls, config: Any) -> Any:
        config = super().for_examples(config)
        return replace(config, retrieval=replace(config.retrieval, hard_negatives=""))

    def match(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Match]:
        """Score each example's `text` with its image. Training with four-way choices makes scores comparable among
        themselves only; the alignment head of pre-training also gives a probability."""
        if self.contrasts:
            return self._matches(examples)
        scorer = PairScorer(self, self.config.retrieval.head)
        with evaluating(self.model):
            boxes = scorer.images([example.images[0] for example in examples])
            scores = scorer.scores(scorer.texts([example.text for example in examples]), boxes, "rows")
        if self.config.retrieval.head == "match":
            return [Match(score=float(score)) for score in scores]
        return [Match(score=float(score), probability=float(share)) for score, share in zip(scores, sigmoid(scores))]

    def _matches(self, examples: Sequence[Example]) -> list[Match]:
        """Compute log-odds and probability of ITM, and the cosine of the ITC features."""
        texts = text_batch(self.tokenizer, [each.text for each in examples], self.config.max_text, self.multiple)
        batch = {name: paddle.to_tensor(array) for name, array in self.with_task(texts).items()}
        model, contrast = self.model, self.model.contrast
        with evaluating(model):
            ids, mask, tasks = batch["input_ids"], batch["text_mask"], batch.get("task_ids")
            words, first = text_stream(model, contrast, ids, mask, task_ids=tasks)
            boxes, second = region_stream(model, contrast, self._regions([each.images[0] for each in examples]))
            logits = itm_logits(model, words, boxes).numpy()
            cosines = (first * second).sum(axis=-1).numpy()
        odds = logits[:, 1] - logits[:, 0]
        rows = zip(odds, sigmoid(odds), cosines)
        return [Match(score=float(s), probability=float(p), similarity=float(cosine)) for s, p, cosine in rows]

    def _towers(self) -> VilbertTowers:
        return VilbertTowers(self.model, self.config.task_number or self.task_number)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        limit = self.config.max_text
        return [single(self.tokenizer, ids, limit).ids for ids in self.tokenizer.encode_batch(texts, limit)]

    def _regions(self, keys: Sequence[str]) -> Batch:
        return {name: paddle.to_tensor(array) for name, array in region_arrays(self.reader.read(keys)).items()}

    def open_gallery(self, chunks: Chunks) -> Gallery:
        """Return images to search."""
        section = self.config.retrieval
        if self.contrasts:
            return RerankedGallery(self.model, self._towers(), section, self._tokens, self._regions, chunks)
        return SearchGallery(PairScorer(self, section.head), self.model, chunks, section.text_block)

    pipelines = {"image-text-matching": match, "retrieval": open_gallery, **VilbertTask.pipelines}


def _check_index(hard: HardNegatives, images: Sequence[str], path: str) -> None:
    """Raise InputError if the index has no training image; log it if it lacks some."""
    known = sum(image in hard for image in images)
    if not known:
        raise InputError(f"{path}: has none of the {len(images)} training images; it is of another data set")
    if known < len(images):
        say(f"{path}: has {known} of {len(images)} training images; the others get random wrong captions")
