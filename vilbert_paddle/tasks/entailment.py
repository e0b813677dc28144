"""SNLI-VE with ViLBERT: does a picture entail a sentence? (12-in-1, arXiv 1912.02315)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paddle import nn

from pyutils.config import setting
from pyutils.data.annotations import snli_ve
from pyutils.data.records import EntailmentRecord
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.metrics.classification import accuracy, per_class_accuracy
from vilbert_paddle.data.classification import ENTAILMENT_CLASSES, entailment_batch
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, split_path

_UNDECIDED = -1


@dataclass(frozen=True)
class EntailmentConfig:
    """The `snli_ve:` section of a configuration."""

    root: str = setting("data/snli_ve", "Folder that the paths below are relative to.")
    splits: dict[str, str] = setting({}, "Split name -> its JSON lines.")


@dataclass(frozen=True)
class EntailmentRunConfig(VilbertRunConfig):
    """Configuration of run_ve.py."""

    snli_ve: EntailmentConfig = setting(EntailmentConfig, "Hypotheses and labels.")


class EntailmentTask(VilbertTask):
    """Batches: see `entailment_batch`. Metrics in percent: `accuracy`, `accuracy/<class>`; pairs on which the
    annotators did not agree are not counted, and not trained on."""

    name = "vilbert_ve"
    best_metric = "accuracy"
    objective = "entailment"
    task_number = 13
    config_class = EntailmentRunConfig

    def __init__(self, config: EntailmentRunConfig, model: nn.Layer | None = None):
        super().__init__(config, model=model)
        self.last_labels: list[dict[str, str]] = []

    def read(self, split: str) -> Sequence[EntailmentRecord]:
        """See VilbertTask."""
        section = self.config.snli_ve
        records = snli_ve.read(split_path(section.root, section.splits, split, "snli_ve"))
        if split == "train":
            records = records.select([row for row, label in enumerate(records.column("label")) if label is not None])
        return self.seen(records, "image")

    def collate(
        self, records: list[EntailmentRecord], rng: np.random.Generator, training: bool
    ) -> dict[str, np.ndarray]:
        """See the class for the batch."""
        return self.with_task(entailment_batch(records, self.tokenizer, self.reader, self.config.max_text))

    def predict(self, loader: Iterable[Batch], split: str) -> np.ndarray:
        """The class [n] int64 of every pair of `split`; kept for `write_results`."""
        said = predict_all(lambda batch: {"said": self.scores(batch).argmax(axis=1)}, loader)["said"]
        names = (record.identifier for record in self.records(split))
        self.last_labels = [{"pairID": name, "label": ENTAILMENT_CLASSES[int(row)]} for name, row in zip(names, said)]
        return said

    def evaluate(self, loader: Iterable[Batch], split: str) -> dict[str, float]:
        """See the class. InputError when the split has no label at all."""
        given = [record.label for record in self.records(split)]
        labels = np.array([ENTAILMENT_CLASSES.index(label) if label else _UNDECIDED for label in given])
        if (labels == _UNDECIDED).all():
            raise InputError(f"split {split!r} has no labels to compare with: run_predict.py writes its result file")
        said = self.predict(loader, split)
        classes = per_class_accuracy(said, labels, ENTAILMENT_CLASSES, _UNDECIDED)
        overall = accuracy(said, labels, _UNDECIDED)
        return {"accuracy": 100.0 * overall, **{f"accuracy/{name}": 100.0 * part for name, part in classes.items()}}

    def write_results(self, output_dir: Path, split: str) -> None:
        """`SPLIT_labels.json`: pairID and label of every pair of the last evaluation."""
        write_json(output_dir / f"{split}_labels.json", self.last_labels)
