"""SNLI-VE with ViLBERT: does an image entail a sentence? (12-in-1, arXiv 1912.02315)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyutils.config import setting
from pyutils.data.annotations import snli_ve
from pyutils.data.records import EntailmentRecord
from pyutils.engine.answers import Choices, Example, ranked_choices
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.metrics.entailment_results import EntailmentPredictions
from vilbert_paddle.data.classification import ENTAILMENT_CLASSES, entailment_batch
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, sigmoid, split_entry


@dataclass(frozen=True)
class EntailmentConfig:
    """The `snli_ve:` section of a configuration."""

    root: str = setting("data/snli_ve", "Directory that the paths below are relative to.")
    splits: dict[str, str] = setting({}, "Split name -> its JSON lines.")


@dataclass(frozen=True)
class EntailmentRunConfig(VilbertRunConfig):
    """Configuration of run_ve.py."""

    snli_ve: EntailmentConfig = setting(EntailmentConfig, "Hypotheses and labels.")


class EntailmentTask(VilbertTask):
    """Batches: see `entailment_batch`. Metrics in percent: `accuracy`, `accuracy/<class>`; pairs without a majority
    label are neither counted nor trained on."""

    name = "vilbert_ve"
    best_metric = "accuracy"
    objective = "entailment"
    task_number = 13
    config_class = EntailmentRunConfig
    example_flags = ("image", "text")

    def read(self, split: str) -> Sequence[EntailmentRecord]:
        section = self.config.snli_ve
        path = Path(section.root).expanduser() / split_entry(section.splits, split, "snli_ve")
        records = snli_ve.read(path)
        if split == "train":
            rows = [row for row, label in enumerate(records.column("label")) if label is not None]
            if not rows:
                raise InputError(
                    f"{path}: none of its {len(records)} examples has a label; train on a split with labels"
                )
            records = records.select(rows)
        return self.with_regions(records, "image")

    def collate(
        self, records: list[EntailmentRecord], rng: np.random.Generator, training: bool
    ) -> dict[str, np.ndarray]:
        return self.with_task(entailment_batch(records, self.tokenizer, self.reader, self.config.max_text))

    def labelled(self, split: str) -> bool:
        return any(record.label is not None for record in self.records(split))

    def predict(self, loader: Iterable[Batch], split: str) -> EntailmentPredictions:
        """Choose the class of every pair of `split`."""
        chosen = predict_all(lambda batch: {"chosen": self.scores(batch).argmax(axis=1)}, loader)["chosen"]
        records = self.records(split)
        labels = [record.label for record in records]
        return EntailmentPredictions([record.identifier for record in records], chosen, labels, ENTAILMENT_CLASSES)

    def classify(self, examples: Sequence[Example], top: int = len(ENTAILMENT_CLASSES)) -> list[Choices]:
        """Rank the three classes of each example's `text` about its image, with the sigmoid of their scores."""
        records = [EntailmentRecord(example.images[0], example.text, None, "0") for example in examples]
        return [ranked_choices(ENTAILMENT_CLASSES, own, "class") for own in sigmoid(self.scores_of(records))]

    pipelines = {"visual-entailment": classify, **VilbertTask.pipelines}
