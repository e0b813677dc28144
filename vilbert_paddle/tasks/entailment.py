"""SNLI-VE with ViLBERT: does an image entail a sentence? (12-in-1, arXiv 1912.02315) And other classes of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from pyutils.config import setting
from pyutils.data.annotations import classified
from pyutils.data.records import EntailmentRecord
from pyutils.engine.answers import Choices, Example, ranked_choices
from pyutils.engine.evaluation import predict_all
from pyutils.engine.split_task import USUAL_TOP
from pyutils.engine.task import Batch
from pyutils.metrics.entailment_results import EntailmentPredictions
from vilbert_paddle.data.classification import entailment_batch
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, sigmoid, split_entry


@dataclass(frozen=True)
class EntailmentRunConfig(VilbertRunConfig):
    """Configuration of run_ve.py."""

    snli_ve: classified.EntailmentConfig = setting(classified.EntailmentConfig, "Hypotheses and labels.")
    classes: list[str] = setting(list(classified.ENTAILMENT_CLASSES), classified.CLASSES_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        classified.check_classes(self.classes)


class EntailmentTask(VilbertTask):
    """Batches: see `entailment_batch`. Metrics in percent: `accuracy`, `accuracy/<class>`; pairs without a majority
    label are neither counted nor trained on."""

    name = "vilbert_ve"
    best_metric = "accuracy"
    objective = "entailment"
    task_number = 13
    config_class = EntailmentRunConfig
    example_flags = ("image", "text")

    def __init__(self, config: EntailmentRunConfig, model: nn.Layer | None = None):
        self.classes = tuple(config.classes)
        super().__init__(config, {"entailment": len(self.classes)}, model=model)

    def read(self, split: str) -> Sequence[EntailmentRecord]:
        section = self.config.snli_ve
        path = Path(section.root).expanduser() / split_entry(section.splits, split, "snli_ve")
        records = classified.read(path, self.classes)
        return self.with_regions(classified.trainable(records, split) if split == "train" else records, "image")

    def collate(
        self, records: list[EntailmentRecord], rng: np.random.Generator, training: bool
    ) -> dict[str, np.ndarray]:
        return self.with_task(
            entailment_batch(records, self.tokenizer, self.reader, self.config.max_text, self.classes)
        )

    def labelled(self, split: str) -> bool:
        return any(record.label is not None for record in self.records(split))

    def predict(self, loader: Iterable[Batch], split: str) -> EntailmentPredictions:
        """Choose the class of every pair of `split`."""

        def classify(batch: Batch) -> dict[str, np.ndarray]:
            scores: paddle.Tensor = self.scores(batch)
            return {"scores": sigmoid(scores.astype("float32").numpy())}

        scores, records = predict_all(classify, loader)["scores"], self.records(split)
        labels = [record.label for record in records]
        return EntailmentPredictions([record.identifier for record in records], scores, labels, self.classes)

    def classify(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Choices]:
        """Rank the classes of each example's `text` about its image, with the sigmoid of their scores."""
        records = [EntailmentRecord(example.images[0], example.text, None, "0") for example in examples]
        return [ranked_choices(self.classes, own, "class") for own in sigmoid(self.scores_of(records))]

    pipelines = {"visual-entailment": classify, **VilbertTask.pipelines}
