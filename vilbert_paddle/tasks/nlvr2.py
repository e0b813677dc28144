"""NLVR2 with ViLBERT: is a sentence true of two pictures? (12-in-1, arXiv 1912.02315)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paddle import nn

from pyutils.config import setting
from pyutils.data.annotations.nlvr2 import NLVR2Config, read_split
from pyutils.data.records import PairRecord
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.metrics.classification import nlvr2_scores
from pyutils.metrics.nlvr2_results import RESULT_FILE, write_predictions
from vilbert_paddle.data.classification import pair_batch
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask


@dataclass(frozen=True)
class NLVR2RunConfig(VilbertRunConfig):
    """Configuration of run_nlvr2.py."""

    nlvr2: NLVR2Config = setting(NLVR2Config, "Sentences and labels.")


class NLVR2Task(VilbertTask):
    """Batches: see `pair_batch`. Metrics: official `accuracy` and `consistency` in percent."""

    name = "vilbert_nlvr2"
    best_metric = "accuracy"
    objective = "pair"
    task_number = 12
    config_class = NLVR2RunConfig

    def __init__(self, config: NLVR2RunConfig, model: nn.Layer | None = None):
        super().__init__(config, model=model)
        self.last_judgements: dict[str, bool] = {}

    def read(self, split: str) -> Sequence[PairRecord]:
        """See VilbertTask."""
        return self.seen(read_split(self.config.nlvr2, split), "left", "right")

    def collate(self, records: list[PairRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """See the class for the batch."""
        if training:
            hidden = [record.identifier for record in records if record.label is None]
            if hidden:
                raise InputError(f"example {hidden[0]} has no label; train on a split with labels")
        return self.with_task(pair_batch(records, self.tokenizer, self.reader, self.config.max_text))

    def predict(self, loader: Iterable[Batch], split: str) -> None:
        """Judge every example of `split`, for `write_results`."""
        said = predict_all(lambda batch: {"said": self.scores(batch).argmax(axis=1)}, loader)["said"]
        identifiers = (record.identifier for record in self.records(split))
        self.last_judgements = {name: bool(value) for name, value in zip(identifiers, said)}

    def evaluate(self, loader: Iterable[Batch], split: str) -> dict[str, float]:
        """See the class."""
        labels = {record.identifier: record.label for record in self.records(split)}
        if None in labels.values():
            raise InputError(f"split {split!r} has hidden labels: run_predict.py writes its prediction file")
        self.predict(loader, split)
        scores = nlvr2_scores(labels, self.last_judgements)
        return {name: 100.0 * value for name, value in scores._asdict().items()}

    def write_results(self, output_dir: Path, split: str) -> None:
        """`predictions.csv` of the last evaluation, for the official metrics."""
        write_predictions(output_dir / RESULT_FILE, self.last_judgements, self.last_judgements.values())
