"""NLVR2 with ALBEF: text assignment as additional pre-training, then fine-tuning (arXiv 2107.07651, section 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import paddle

from albef_paddle.network.classification import AlbefForReasoning
from albef_paddle.network.text_assignment import AlbefForTextAssignment
from albef_paddle.tasks.base import AlbefRunConfig, AlbefTask, softmax
from albef_paddle.tasks.captions import CaptionTask
from pyutils.data.annotations import albef
from pyutils.data.records import PairRecord
from pyutils.engine.answers import Choices, Example, ranked_choices
from pyutils.engine.evaluation import evaluating, predict_all
from pyutils.engine.task import Batch
from pyutils.metrics.classification import accuracy
from pyutils.metrics.nlvr2_results import PairPredictions

_IDENTIFIER_PARTS = 4


class AlbefTextAssignment(CaptionTask):
    """Pre-training before NLVR2; batches as in `CaptionTask`."""

    name = "albef_nlvr_pretrain"
    least_batch = 3

    def __init__(self, config: AlbefRunConfig):
        super().__init__(config)
        self.model = AlbefForTextAssignment(self.config.model)

    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        return self.model(batch["images"], batch["input_ids"], batch["text_mask"]), {}

    def batch_losses(self, batch: Batch) -> dict[str, paddle.Tensor]:
        return {"loss": self.model(batch["images"], batch["input_ids"], batch["text_mask"])}


class AlbefNLVR2(AlbefTask):
    """Batches: `images` `[b, 2, 3, size, size]` float32; `input_ids`, `text_mask` `[b, t]` int64; in training `labels`
    `[b]` int64, 1 = True."""

    name = "albef_nlvr2"
    needs_labels = True
    image_fields = ("left", "right")
    best_metric = "accuracy"
    example_flags = ("image", "second_image", "text")

    def __init__(self, config: AlbefRunConfig):
        super().__init__(config)
        self.model = AlbefForReasoning(self.config.model)

    def read(self, split: str) -> Sequence[PairRecord]:
        return albef.read_nlvr2(self.config.data.files(split))

    def collate(self, records: list[PairRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        source = self.images(training)
        images = source.read_batch([side for record in records for side in (record.left, record.right)], rng)
        images = images.reshape([len(records), 2, *source.shape])
        batch = {"images": images, **self.text_arrays([self.caption(record.sentence) for record in records])}
        if training:
            batch["labels"] = np.array([record.label for record in records], dtype=np.int64)
        return batch

    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        inputs = (batch[name] for name in ("images", "input_ids", "text_mask", "labels"))
        return self.model.loss(*inputs, alpha), {}

    def predict(self, loader: Iterable[Batch], split: str) -> AlbefPairPredictions:
        """Predict whether each sentence of `split` is true of its images."""

        def classify(batch: Batch) -> dict[str, paddle.Tensor]:
            return {"chosen": self.model(batch["images"], batch["input_ids"], batch["text_mask"]).argmax(axis=1)}

        chosen = predict_all(classify, loader)["chosen"] > 0
        records = self.records(split)
        return AlbefPairPredictions([r.identifier for r in records], chosen, [r.label for r in records])

    def judge(self, examples: Sequence[Example], top: int = 2) -> list[Choices]:
        """Rank False and True for each example's `text` about its two images."""
        pixels = self.pixels([key for example in examples for key in example.images])
        pairs = pixels.reshape([len(examples), 2, *pixels.shape[1:]])
        with evaluating(self.model):
            scores = self.model(pairs, *self.captions([example.text for example in examples]))
        return [ranked_choices(("False", "True"), shares, "verdict") for shares in softmax(scores)]

    pipelines = {"nlvr": judge}


class AlbefPairPredictions(PairPredictions):
    """Without NLVR2's identifiers there are no groups to compute the consistency on."""

    def metrics(self) -> dict[str, float]:
        """Compute `accuracy` in percent, and `consistency` if the list keeps NLVR2's identifiers."""
        if all(len(name.split("-")) == _IDENTIFIER_PARTS for name in self.identifiers):
            return super().metrics()
        if any(label is None for label in self.labels):
            return {}
        return {"accuracy": 100.0 * accuracy(self.predicted, np.array(self.labels, dtype=bool))}
