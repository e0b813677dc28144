"""Pre-training of ViLBERT: masked words, masked regions, alignment (arXiv 1908.02265, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import paddle
from paddle import nn

from pyutils.config import setting
from pyutils.data.features import RegionBatch
from pyutils.data.features.inputs import RegionSourceConfig
from pyutils.data.pairs import Captions, Pair, PairSource, open_pairs
from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.formats.json_files import read_json
from pyutils.metrics.predictions import MetricsOnly
from pyutils.text.masking import IGNORED
from vilbert_paddle.data.masking import region_negatives
from vilbert_paddle.data.pretrain import Objective, caption_of, pretrain_batch
from vilbert_paddle.data.regions import RegionReader, held_regions
from vilbert_paddle.network.heads import PRETRAINING, PretrainingScores, VilbertForPretraining
from vilbert_paddle.network.objectives import (
    PretrainingLabels,
    VisualTarget,
    network_inputs,
    pretraining_losses,
)
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, split_entry


@dataclass(frozen=True)
class PretrainConfig:
    """The `pretrain:` section of a configuration."""

    splits: dict[str, list[str]] = setting({}, "Split name -> its .tar shards, .arrow files or .json lists.")
    features: dict[str, str] = setting({}, "Split name -> region features, where the pairs do not contain them.")
    objective: Objective = setting("aligned_only", "all, aligned_only or no_alignment: see `pretrain_batch`.")
    target: VisualTarget = setting("classes", "Target of masked regions: classes, features or nce.")


@dataclass(frozen=True)
class PretrainRunConfig(VilbertRunConfig):
    """Configuration of run_pretrain.py."""

    pretrain: PretrainConfig = setting(PretrainConfig, "Pairs and objectives.")


class NamedCaptions(Sequence[Pair]):
    """Pairs of the original's `caption_train.json`, an object from image key to caption."""

    def __init__(self, path: Path, captions: dict[str, str]) -> None:
        for key, text in captions.items():
            if not isinstance(text, str):
                raise InputError(f"{path}: expected a caption for image {key!r}, found {text!r}")
        records = (CaptionRecord(key, (text,), key) for key, text in captions.items())
        self._table = RecordTable(CaptionRecord, records)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index):
        return Pair(self._table[index].image, self._table[index].captions)

    def captions(self, index: int) -> tuple[str, ...]:
        """See `PairSource.captions`."""
        return self._table[index].captions


class PretrainTask(VilbertTask):
    """Batches: see `pretrain_batch`, and `word_positions` [n] int64, the flat positions of masked words (position 0,
    which is none, where nothing was masked); for the target nce `negatives` [b, r - 1, k] int64.

    Metrics: the mean losses `words`, `regions`, `alignment`, `alignment_accuracy` in percent, and `score`, minus the
    sum of the losses."""

    pipelines = {}  # no answers to a user's examples
    name = "vilbert_pretrain"
    best_metric = "score"
    config_class = PretrainRunConfig

    def __init__(self, config: PretrainRunConfig, model: nn.Layer | None = None):
        self.section = config.pretrain
        if config.image_input == "shuffled":
            raise InputError("image_input: shuffled is not available in pre-training; use withheld")
        super().__init__(config, model=model)
        self._readers = {name: self._reader(path) for name, path in self.section.features.items()}
        self._pool = Captions(self.records("train"))

    @classmethod
    def heads_of(cls, config: PretrainRunConfig) -> tuple[str, ...]:
        """The heads of pre-training."""
        return PRETRAINING

    def network(self) -> VilbertForPretraining:
        """Build the pre-training network."""
        return VilbertForPretraining(self.config.model)

    def open_regions(self, annotated: RegionSourceConfig | None) -> None:
        """Do nothing: regions are opened per split, or are part of the pairs."""

    def _reader(self, path: str) -> RegionReader:
        regions = replace(self.config.regions, path=path)
        probs = self.section.target == "classes"
        size, shown = self.config.model.region_dim, self.config.image_input
        return RegionReader(regions, size, self.multiple, class_probs=probs, image_input=shown)

    def read(self, split: str) -> PairSource | NamedCaptions:
        """Open the pairs of `split`; shards stay on disk."""
        paths = split_entry(self.section.splits, split, "pretrain")
        if len(paths) == 1 and paths[0].endswith(".json"):
            path = Path(paths[0]).expanduser()
            content = read_json(path)
            if isinstance(content, dict):
                return NamedCaptions(path, content)
        return open_pairs(paths)

    def collate(self, records: list[Pair], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        regions = self._regions(records, training)
        captions = [caption_of(record.captions, rng if training else None) for record in records]
        target: Literal["classes", "features"] = "classes" if self.section.target == "classes" else "features"
        batch = pretrain_batch(
            captions,
            regions,
            self.tokenizer,
            self.config.max_text,
            rng,
            self._pool,
            self.section.objective,
            target,
            self.multiple,
        )
        masked = np.flatnonzero(batch["word_labels"] != IGNORED)
        batch["word_positions"] = masked if masked.size else np.zeros(1, np.int64)
        if self.section.target == "nce":
            batch["negatives"] = region_negatives(rng, *batch["region_labels"].shape)
        return self.with_task(batch)

    def _regions(self, records: list[Pair], training: bool) -> RegionBatch:
        """Read the regions from the split's store, or take those of the pairs."""
        keys = [record.image for record in records]
        # The name of an evaluation split is not known here: its images are looked up in all stores but that of train.
        names = ["train"] if training else [name for name in self._readers if name != "train"] or ["train"]
        for name in names:
            if name in self._readers and keys[0] in self._readers[name].inputs.source:
                # The blind baseline keeps the boxes, so that masked regions still have classes to predict.
                return self._readers[name].read(keys, keep_boxes=True)
        if records[0].regions is None and any(name in self._readers for name in names):
            raise InputError(f"pretrain.features: no features for image {keys[0]!r} in {self.section.features}")
        regions, limit = [record.regions for record in records], self.config.regions.max_regions
        held = held_regions(regions, keys, limit, self.multiple, self.section.target == "classes")
        return replace(held, features=np.zeros_like(held.features)) if self.config.image_input == "withheld" else held

    def losses(self, batch: Batch) -> tuple[dict[str, paddle.Tensor], PretrainingScores]:
        """Compute the losses by name, and the scores (words: at masked positions only)."""
        positions = batch["word_positions"]
        scores = self.model(word_positions=positions, **network_inputs(batch))
        labels = PretrainingLabels(
            batch["word_labels"].reshape([-1]).index_select(positions),
            batch["region_labels"],
            batch["region_targets"],
            batch["replaced"],
            batch.get("negatives"),
        )
        alignment = self.section.objective != "no_alignment"
        return pretraining_losses(scores, labels, self.section.target, alignment), scores

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        losses, _ = self.losses(batch)
        return sum(losses.values()), losses

    def predict(self, loader: Iterable[Batch], split: str) -> MetricsOnly:
        """Compute the metrics of the class; losses are means over batches."""

        def measure(batch: Batch) -> dict[str, np.ndarray]:
            losses, scores = self.losses(batch)
            count = batch["replaced"].shape[0]
            values = {name: np.full(count, value.item()) for name, value in losses.items()}
            right = (scores.alignment.argmax(axis=1) == batch["replaced"]).astype("float32")
            return {**values, "alignment_accuracy": 100.0 * right.numpy()}

        found = predict_all(measure, loader)
        metrics = {name: float(np.mean(values)) for name, values in found.items() if name != "index"}
        accuracy = metrics.pop("alignment_accuracy")
        return MetricsOnly({**metrics, "alignment_accuracy": accuracy, "score": -sum(metrics.values())})
