"""NLVR2 with ALBEF: text assignment as extra pre-training, then judging pairs (arXiv 2107.07651, section 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from albef_paddle.network.classification import AlbefForReasoning
from albef_paddle.network.text_assignment import AlbefForTextAssignment
from albef_paddle.tasks.base import AlbefRunConfig, AlbefTask, probabilities
from albef_paddle.tasks.captions import CaptionTask
from pyutils.data.annotations import albef
from pyutils.data.records import PairRecord
from pyutils.engine.evaluation import evaluating, predict_all
from pyutils.engine.task import Batch, Rows
from pyutils.errors import InputError
from pyutils.metrics.classification import accuracy
from pyutils.metrics.nlvr2_results import PairPredictions

_IDENTIFIER_PARTS = 4


class AlbefTextAssignment(CaptionTask):
    """Pre-training before NLVR2; batches as `CaptionTask` says."""

    name = "albef_nlvr_pretrain"
    least_batch = 3

    def __init__(self, config: AlbefRunConfig):
        super().__init__(config)
        self.model = AlbefForTextAssignment(self.config.model)

    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """See AlbefTask."""
        return self.model(batch["images"], batch["input_ids"], batch["text_mask"]), {}

    def batch_losses(self, batch: Batch) -> dict[str, paddle.Tensor]:
        """See CaptionTask."""
        return {"loss": self.model(batch["images"], batch["input_ids"], batch["text_mask"])}


class AlbefNLVR2(AlbefTask):
    """Batches: `images` `[b, 2, 3, size, size]` float32; `input_ids`, `text_mask` `[b, t]` int64; in training `labels`
    `[b]` int64, 1 = True."""

    name = "albef_nlvr2"
    image_fields = ("left", "right")
    best_metric = "accuracy"
    example_flags = ("image", "second_image", "text")

    def __init__(self, config: AlbefRunConfig):
        super().__init__(config)
        self.model = AlbefForReasoning(self.config.model)

    def read(self, split: str) -> Sequence[PairRecord]:
        """See AlbefTask."""
        return albef.read_nlvr2(self.config.data.files(split))

    def collate(self, records: list[PairRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """See the class for the batch."""
        source = self.images(training)
        pictures = source.read_batch([side for record in records for side in (record.left, record.right)], rng)
        pictures = pictures.reshape([len(records), 2, *source.shape])
        batch = {"images": pictures, **self.text_arrays([self.caption(record.sentence) for record in records])}
        if training:
            batch["labels"] = labels_of(records)
        return batch

    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """See AlbefTask."""
        inputs = (batch[name] for name in ("images", "input_ids", "text_mask", "labels"))
        return self.model.loss(*inputs, alpha), {}

    def labelled(self, split: str) -> bool:
        """See Task."""
        return all(record.label is not None for record in self.records(split))

    def predict(self, loader: Iterable[Batch], split: str) -> AlbefPairPredictions:
        """Whether each sentence of `split` is true of its images."""

        def judge(batch: Batch) -> dict[str, paddle.Tensor]:
            return {"said": self.model(batch["images"], batch["input_ids"], batch["text_mask"]).argmax(axis=1)}

        said = predict_all(judge, loader)["said"] > 0
        records = self.records(split)
        return AlbefPairPredictions([r.identifier for r in records], said, [r.label for r in records])

    def answer_example(self, example: Mapping[str, Any], output: Path) -> Rows:
        """Whether `text` is true of `image` and `second_image`, the more probable answer first."""
        pixels = [self.read_image(example[flag]) for flag in ("image", "second_image")]
        inputs = self.tensors(self.text_arrays([self.caption(example["text"])]))
        with evaluating(self.model):
            scores = self.model(paddle.stack(pixels, axis=1), inputs["input_ids"], inputs["text_mask"])[0]
        return probabilities(("False", "True"), scores)


class AlbefPairPredictions(PairPredictions):
    """Lists that were made without NLVR2's identifiers have no groups to be consistent on."""

    def metrics(self) -> dict[str, float]:
        """`accuracy` in percent, and `consistency` where the list keeps NLVR2's identifiers."""
        if all(len(name.split("-")) == _IDENTIFIER_PARTS for name in self.identifiers):
            return super().metrics()
        if any(label is None for label in self.labels):
            return {}
        return {"accuracy": 100.0 * accuracy(self.predicted, np.array(self.labels, dtype=bool))}


def labels_of(records: Iterable[PairRecord]) -> np.ndarray:
    """1 for True, 0 for False, `[n]` int64. InputError where a label is hidden."""
    labels = []
    for record in records:
        if record.label is None:
            raise InputError(f"example {record.identifier} has no label; use a list with labels")
        labels.append(int(record.label))
    return np.array(labels, dtype=np.int64)
