"""SNLI-VE with ALBEF (arXiv 2107.07651, section 4.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import paddle

from albef_paddle.network.classification import AlbefForEntailment
from albef_paddle.tasks.base import AlbefRunConfig, AlbefTask, softmax
from pyutils.data.annotations import albef
from pyutils.data.records import EntailmentRecord
from pyutils.engine.answers import Choices, Example, ranked_choices
from pyutils.engine.evaluation import evaluating, predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.metrics.entailment_results import EntailmentPredictions

CLASSES = ("contradiction", "neutral", "entailment")
"""Class names in the output order of the published checkpoints."""


class AlbefEntailment(AlbefTask):
    """Batches: `images` `[b, 3, size, size]` float32; `input_ids`, `text_mask` `[b, t]` int64; in training `labels`
    `[b]` int64, indices into `CLASSES`."""

    name = "albef_ve"
    best_metric = "accuracy"
    example_flags = ("image", "text")

    def __init__(self, config: AlbefRunConfig):
        super().__init__(config)
        if self.config.model.num_classes != len(CLASSES):
            raise InputError(f"model.num_classes: expected {len(CLASSES)}, found {self.config.model.num_classes}")
        self.model = AlbefForEntailment(self.config.model)

    def read(self, split: str) -> Sequence[EntailmentRecord]:
        return albef.read_entailment(self.config.data.files(split))

    def collate(
        self, records: list[EntailmentRecord], rng: np.random.Generator, training: bool
    ) -> dict[str, np.ndarray]:
        images = self.images(training).read_batch([record.image for record in records], rng)
        batch = {"images": images, **self.text_arrays([self.caption(record.sentence) for record in records])}
        if training:
            batch["labels"] = np.array([CLASSES.index(record.label) for record in records], dtype=np.int64)
        return batch

    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        inputs = (batch[name] for name in ("images", "input_ids", "text_mask", "labels"))
        return self.model.loss(*inputs, alpha), {}

    def labelled(self, split: str) -> bool:
        return any(record.label is not None for record in self.records(split))

    def predict(self, loader: Iterable[Batch], split: str) -> EntailmentPredictions:
        """Predict the class of every pair of `split`."""

        def classify(batch: Batch) -> dict[str, paddle.Tensor]:
            return {"chosen": self.model(batch["images"], batch["input_ids"], batch["text_mask"]).argmax(axis=1)}

        chosen, records = predict_all(classify, loader)["chosen"], self.records(split)
        labels = [record.label for record in records]
        return EntailmentPredictions([record.identifier for record in records], chosen, labels, CLASSES)

    def classify(self, examples: Sequence[Example], top: int = len(CLASSES)) -> list[Choices]:
        """Rank the classes of each example's `text` about its image."""
        images = self.pixels([example.images[0] for example in examples])
        with evaluating(self.model):
            scores = self.model(images, *self.captions([example.text for example in examples]))
        return [ranked_choices(CLASSES, shares, "class") for shares in softmax(scores)]

    pipelines = {"visual-entailment": classify}
