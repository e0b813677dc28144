"""NLVR2 with ALBEF: text assignment as extra pre-training, then judging pairs (arXiv 2107.07651, section 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import paddle

from albef_paddle.classification import AlbefForReasoning
from albef_paddle.tasks.base import AlbefRunConfig, AlbefTask
from albef_paddle.tasks.captions import CaptionTask
from albef_paddle.text_assignment import AlbefForTextAssignment
from pyutils import distributed
from pyutils.data.annotations import albef
from pyutils.data.records import PairRecord
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.metrics.classification import accuracy, nlvr2_scores
from pyutils.metrics.nlvr2_results import RESULT_FILE, write_predictions

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

    def __init__(self, config: AlbefRunConfig):
        super().__init__(config)
        self.model = AlbefForReasoning(self.config.model)
        self.last_said: np.ndarray | None = None

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

    def evaluate(self, loader: Iterable[Batch], split: str) -> dict[str, float]:
        """Accuracy in percent, and consistency where the list keeps NLVR2's identifiers."""
        records = self.records(split)
        labels = labels_of(records)

        def judge(batch: Batch) -> dict[str, paddle.Tensor]:
            return {"said": self.model(batch["images"], batch["input_ids"], batch["text_mask"]).argmax(axis=1)}

        self.last_split, self.last_said = split, predict_all(judge, loader)["said"] == 1
        metrics = {"accuracy": 100.0 * accuracy(self.last_said.astype(np.int64), labels)}
        names = [record.identifier for record in records]
        if all(len(name.split("-")) == _IDENTIFIER_PARTS for name in names):
            scores = nlvr2_scores(dict(zip(names, labels > 0)), dict(zip(names, self.last_said)))
            metrics["consistency"] = 100.0 * scores.consistency
        return metrics

    def write_results(self, output_dir: Path, split: str) -> None:
        """`predictions.csv` of the last evaluation, for the official metrics."""
        if self.last_said is not None and distributed.is_main():
            names = [record.identifier for record in self.records(split)]
            write_predictions(output_dir / RESULT_FILE, names, self.last_said)


def labels_of(records: Iterable[PairRecord]) -> np.ndarray:
    """1 for True, 0 for False, `[n]` int64. InputError where a label is hidden."""
    labels = []
    for record in records:
        if record.label is None:
            raise InputError(f"example {record.identifier} has no label; use a list with labels")
        labels.append(int(record.label))
    return np.array(labels, dtype=np.int64)
