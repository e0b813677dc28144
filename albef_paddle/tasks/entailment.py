"""SNLI-VE with ALBEF (arXiv 2107.07651, section 4.4), and other classes of an image with a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import paddle

from albef_paddle.config import AlbefConfig
from albef_paddle.network.classification import AlbefForEntailment
from albef_paddle.tasks.base import AlbefRunConfig, AlbefTask, softmax
from pyutils.config import setting
from pyutils.config.checks import refuse
from pyutils.data.annotations import classified
from pyutils.data.records import EntailmentRecord
from pyutils.engine.answers import Choices, Example, ranked_choices
from pyutils.engine.evaluation import evaluating, predict_all
from pyutils.engine.split_task import USUAL_TOP
from pyutils.engine.task import Batch
from pyutils.metrics.entailment_results import EntailmentPredictions


@dataclass(frozen=True)
class AlbefEntailmentConfig(AlbefRunConfig):
    """Configuration of run_ve.py."""

    classes: list[str] = setting(list(classified.ENTAILMENT_CLASSES), classified.CLASSES_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        classified.check_classes(self.classes)
        # The network's own number is 3 where nobody set it.
        if self.model.num_classes not in (len(self.classes), AlbefConfig.num_classes):
            refuse(self.model, "num_classes", f"{len(self.classes)}, the number of classes", "classes")


class AlbefEntailment(AlbefTask):
    """Batches: `images` `[b, 3, size, size]` float32; `input_ids`, `text_mask` `[b, t]` int64; in training `labels`
    `[b]` int64, indices into the classes."""

    name = "albef_ve"
    best_metric = "accuracy"
    config_class = AlbefEntailmentConfig
    example_flags = ("image", "text")

    def __init__(self, config: AlbefEntailmentConfig):
        self.classes = tuple(config.classes)
        super().__init__(replace(config, model=replace(config.model, num_classes=len(self.classes))))
        self.model = AlbefForEntailment(self.config.model)

    def read(self, split: str) -> Sequence[EntailmentRecord]:
        records = classified.read(self.config.data.files(split), self.classes, image_paths=True)
        return classified.trainable(records, split) if split == "train" else records

    def collate(
        self, records: list[EntailmentRecord], rng: np.random.Generator, training: bool
    ) -> dict[str, np.ndarray]:
        images = self.images(training).read_batch([record.image for record in records], rng)
        batch = {"images": images, **self.text_arrays([self.caption(record.sentence) for record in records])}
        if training:
            batch["labels"] = np.array([self.classes.index(record.label) for record in records], dtype=np.int64)
        return batch

    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        inputs = (batch[name] for name in ("images", "input_ids", "text_mask", "labels"))
        return self.model.loss(*inputs, alpha), {}

    def labelled(self, split: str) -> bool:
        return any(record.label is not None for record in self.records(split))

    def predict(self, loader: Iterable[Batch], split: str) -> EntailmentPredictions:
        """Predict the class of every pair of `split`."""

        def classify(batch: Batch) -> dict[str, np.ndarray]:
            return {"scores": softmax(self.model(batch["images"], batch["input_ids"], batch["text_mask"]))}

        scores, records = predict_all(classify, loader)["scores"], self.records(split)
        labels = [record.label for record in records]
        return EntailmentPredictions([record.identifier for record in records], scores, labels, self.classes)

    def classify(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Choices]:
        """Rank the classes of each example's `text` about its image."""
        images = self.pixels([example.images[0] for example in examples])
        with evaluating(self.model):
            scores = self.model(images, *self.captions([example.text for example in examples]))
        return [ranked_choices(self.classes, shares, "class") for shares in softmax(scores)]

    pipelines = {"visual-entailment": classify}
