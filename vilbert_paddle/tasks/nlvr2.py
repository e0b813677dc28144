"""NLVR2 with ViLBERT: is a sentence true of two images? (12-in-1, arXiv 1912.02315)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pyutils.config import setting
from pyutils.data.annotations.nlvr2 import NLVR2Config, read_split
from pyutils.data.records import PairRecord
from pyutils.engine.answers import Choices, Example, ranked_choices
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.metrics.nlvr2_results import PairPredictions
from vilbert_paddle.data.classification import pair_batch
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, sigmoid


@dataclass(frozen=True)
class NLVR2RunConfig(VilbertRunConfig):
    """Configuration of run_nlvr2.py."""

    nlvr2: NLVR2Config = setting(NLVR2Config, "Sentences and labels.")


class NLVR2Task(VilbertTask):
    """Batches: see `pair_batch`. Metrics: official `accuracy` and `consistency` in percent."""

    name = "vilbert_nlvr2"
    best_metric = "accuracy"
    needs_labels = True
    objective = "pair"
    task_number = 12
    config_class = NLVR2RunConfig
    example_flags = ("image", "second_image", "text")

    def read(self, split: str) -> Sequence[PairRecord]:
        return self.with_regions(read_split(self.config.nlvr2, split), "left", "right")

    def collate(self, records: list[PairRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        if training:
            hidden = [record.identifier for record in records if record.label is None]
            if hidden:
                raise InputError(f"example {hidden[0]} has no label; train on a split with labels")
        return self.with_task(pair_batch(records, self.tokenizer, self.reader, self.config.max_text))

    def predict(self, loader: Iterable[Batch], split: str) -> PairPredictions:
        """Decide if each sentence of `split` is true of its images."""
        chosen = predict_all(lambda batch: {"chosen": self.scores(batch).argmax(axis=1)}, loader)["chosen"]
        records = self.records(split)
        return PairPredictions([r.identifier for r in records], chosen == 1, [r.label for r in records])

    def judge(self, examples: Sequence[Example], top: int = 2) -> list[Choices]:
        """Rank False and True for each example's `text` about its two images, with the sigmoid of their scores."""
        records = [
            PairRecord("0-0-0-0", example.images[0], example.images[1], example.text, None) for example in examples
        ]
        return [ranked_choices(("False", "True"), own, "verdict") for own in sigmoid(self.scores_of(records))]

    pipelines = {"nlvr": judge, **VilbertTask.pipelines}
