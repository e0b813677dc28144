"""Caption-based image retrieval with ViLBERT (arXiv 1908.02265, section 4.1), fine-tuned and zero-shot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from paddle import nn

from pyutils.config import setting
from pyutils.console import say
from pyutils.data.annotations import karpathy
from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.metrics.retrieval import RankPredictions
from vilbert_paddle.data.caption_lines import read_caption_lines
from vilbert_paddle.data.hard_negatives import HardNegatives
from vilbert_paddle.data.retrieval import CHOICES, CaptionTable, four_way_batch, image_batch
from vilbert_paddle.network.objectives import OBJECTIVES, REGION_INPUTS, TEXT_INPUTS, as_choices, network_inputs
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask
from vilbert_paddle.tasks.gallery import Gallery


@dataclass(frozen=True)
class RetrievalConfig:
    """The `retrieval:` section of a configuration."""

    annotations: str = setting("data/flickr30k/dataset_flickr30k.json", "Karpathy's JSON with the splits.")
    splits: dict[str, str] = setting(
        {}, "Split -> JSON lines of the original (id, img_path, sentences), in place of `annotations`."
    )
    hard_negatives: str = setting("", "Pictures that look alike (.npz, or hard_negative.pkl); empty: of the batch.")
    head: Literal["match", "alignment"] = setting("match", "alignment: zero-shot, the head of pre-training.")
    text_block: int = setting(256, "Captions scored at a time in evaluation; memory grows with it.")


@dataclass(frozen=True)
class RetrievalRunConfig(VilbertRunConfig):
    """Configuration of run_retrieval.py."""

    retrieval: RetrievalConfig = setting(RetrievalConfig, "Captions and splits.")


class RetrievalTask(VilbertTask):
    """Training batches: see `four_way_batch`; evaluation batches: pictures alone (`image_batch`), each of which is
    scored with all captions of the split. Metrics: `txt_r1` … `img_r10`, `r_mean` in percent."""

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
        """See VilbertTask."""
        return (config.retrieval.head,)

    def read(self, split: str) -> RecordTable[CaptionRecord]:
        """The pictures of `split` with their captions."""
        section = self.config.retrieval
        if split in section.splits:
            records = read_caption_lines(Path(section.splits[split]).expanduser())
        else:
            records = karpathy.read(section.annotations, split)
        return self.seen(records, "image")

    def train_records(self) -> CaptionTable:
        """The captions of the training split, one a record."""
        if self.config.retrieval.head != "match":
            raise InputError("retrieval.head alignment is for zero-shot evaluation: give --evaluate, or train match")
        if "captions" not in self._splits:
            self._splits["captions"] = CaptionTable(self.records("train"))
            self._check_hard(self._splits["captions"].pictures)
        return self._splits["captions"]

    def _check_hard(self, pictures: RecordTable[CaptionRecord]) -> None:
        """InputError when the index of hard negatives knows no training picture; says so when it knows some."""
        if self.hard is None:
            return
        path = self.config.retrieval.hard_negatives
        known = sum(image in self.hard for image in pictures.column("image"))
        if not known:
            raise InputError(f"{path}: knows none of the {len(pictures)} training pictures; it is of another data set")
        if known < len(pictures):
            say(f"{path}: knows {known} of {len(pictures)} training pictures; the others get random wrong captions")

    def collate(self, records: list[CaptionRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """See the class for the batches."""
        if not training:
            return image_batch(records, self.reader)
        table, limit = self.train_records(), self.config.max_text
        return self.with_task(four_way_batch(records, self.tokenizer, self.reader, limit, table, rng, self.hard))

    def scores(self, batch: Batch) -> nn.Layer:
        """Scores [b, 4] of the four pairs of each record."""
        rows = batch["pictures"].reshape([-1])
        inputs = {name: batch[name] for name in (*TEXT_INPUTS, *REGION_INPUTS) if name in batch}
        if self._images_embed_alike():
            inputs = {**network_inputs(inputs), "pairing": "rows", "image_rows": rows}
        else:
            for name in REGION_INPUTS:
                inputs[name] = batch[name].index_select(rows).reshape([-1, CHOICES, *batch[name].shape[1:]])
            inputs = network_inputs(inputs)
        return as_choices(self.model(OBJECTIVES[self.objective].head, **inputs), CHOICES)

    def _images_embed_alike(self) -> bool:
        """Whether a picture is the same in every pair up to the first co-attention layer: no dropout that is drawn for
        each pair, no visual layers that read the text. Then it is embedded once."""
        stream = self.config.model.regions
        drawn = self.model.training and (stream.hidden_dropout or stream.attention_dropout)
        return not drawn and not (self.config.model.gated_regions and stream.first_co_attention)

    def predict(self, loader: Iterable[Batch], split: str) -> RankPredictions:
        """Both directions over the whole split; every process scores its own images with all captions."""
        section = self.config.retrieval
        return RankPredictions(*Gallery(self, self.records(split), section.head, section.text_block).ranks(loader))
