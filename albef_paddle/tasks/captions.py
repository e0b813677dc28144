"""The base of both pre-trainings: images with captions, one of which is drawn per step."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import paddle

from albef_paddle.tasks.base import AlbefTask
from pyutils import distributed
from pyutils.data.annotations import albef
from pyutils.data.records import CaptionRecord
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.metrics.predictions import MetricsOnly

MAX_TOKENS = 25


class CaptionTask(AlbefTask):
    """Batches: `images` `[b, 3, size, size]` float32; `input_ids`, `text_mask` `[b, t]` int64.

    Evaluation computes the mean losses over held-out batches of at least `least_batch` pairs; `neg_loss`, which selects
    the best checkpoint, is the negative of their sum.
    """

    transform = "pretrain"
    best_metric = "neg_loss"

    def read(self, split: str) -> Sequence[CaptionRecord]:
        return albef.read_pretrain(self.config.data.files(split))

    def collate(self, records: list[CaptionRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        images = self.images(training).read_batch([record.image for record in records], rng)
        drawn = [record.captions[int(rng.integers(len(record.captions)))] for record in records]
        return {"images": images, **self.text_arrays([self.caption(text, MAX_TOKENS) for text in drawn])}

    def before_training(self) -> None:
        """Raise InputError also if every held-out batch would be too small."""
        train = self.config.train
        if self.held_out:
            own = -(-len(self.records(self.held_out)) // distributed.world_size())
            self._check_batch(self.held_out, min(own, train.eval_batch_size or train.batch_size))
        super().before_training()

    def _check_batch(self, split: str, pairs: int) -> None:
        if pairs < self.least_batch:
            train = self.config.train
            raise InputError(
                f"split {split!r}: nothing can be measured on its {len(self.records(split))} records: a batch needs "
                f"{self.least_batch} pairs, for negatives. Use a larger list, raise train.eval_batch_size "
                f"({train.eval_batch_size or train.batch_size}), or set train.eval_split to empty"
            )

    @abstractmethod
    def batch_losses(self, batch: Batch) -> dict[str, paddle.Tensor]:
        """Compute the losses of a held-out batch, scalars, without changing the model."""

    def predict(self, loader: Iterable[Batch], split: str) -> MetricsOnly:
        """Compute the mean losses. Raises InputError if every batch is too small."""
        totals: defaultdict[str, float] = defaultdict(float)
        for batch in loader:
            size = batch["images"].shape[0]
            if size >= self.least_batch:
                totals["records"] += size
                for name, value in self.batch_losses(batch).items():
                    totals[name] += size * float(value)
        gathered = distributed.all_gather_objects(totals)
        count = sum(part["records"] for part in gathered)
        self._check_batch(split, int(count))
        names = dict.fromkeys(name for part in gathered for name in part if name != "records")
        means = {name: sum(part[name] for part in gathered) / count for name in names}
        return MetricsOnly({"neg_loss": -sum(means.values()), **means})
