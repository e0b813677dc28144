"""What the pre-trainings share: images with captions, of which one is drawn at a time."""

from __future__ import annotations

from abc import abstractmethod
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

    Evaluation gives the mean losses over held-out batches, the last one left out if it is under `least_batch`;
    `neg_loss`, by which the best checkpoint is chosen, is the negative of their sum.
    """

    transform = "pretrain"
    best_metric = "neg_loss"

    def read(self, split: str) -> Sequence[CaptionRecord]:
        """See AlbefTask."""
        return albef.read_pretrain(self.config.data.files(split))

    def collate(self, records: list[CaptionRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """See the class for the batch."""
        pictures = self.images(training).read_batch([record.image for record in records], rng)
        drawn = [record.captions[int(rng.integers(len(record.captions)))] for record in records]
        return {"images": pictures, **self.text_arrays([self.caption(text, MAX_TOKENS) for text in drawn])}

    def before_training(self) -> None:
        """See AlbefTask. InputError also when no held-out batch would be large enough."""
        train = self.config.train
        if self.held_out:
            own = -(-len(self.records(self.held_out)) // distributed.world_size())
            if min(own, train.eval_batch_size or train.batch_size) < self.least_batch:
                raise self._nothing_measured(self.held_out)
        super().before_training()

    def _nothing_measured(self, split: str) -> InputError:
        train = self.config.train
        return InputError(
            f"split {split!r}: nothing can be measured on its {len(self.records(split))} records: a batch needs "
            f"{self.least_batch} pairs, for wrong ones among them. Name a larger list, raise train.eval_batch_size "
            f"({train.eval_batch_size or train.batch_size}), or evaluate nothing with train.eval_split empty"
        )

    @abstractmethod
    def batch_losses(self, batch: Batch) -> dict[str, paddle.Tensor]:
        """The losses of a held-out batch, scalars; nothing of the model changes."""

    def predict(self, loader: Iterable[Batch], split: str) -> MetricsOnly:
        """See the class. InputError when every batch is too small."""
        totals: dict[str, float] = {}
        records = 0
        for batch in loader:
            size = batch["images"].shape[0]
            if size < self.least_batch:
                continue
            records += size
            for name, value in self.batch_losses(batch).items():
                totals[name] = totals.get(name, 0.0) + size * float(value)
        gathered = distributed.all_gather_objects((records, totals))
        count = sum(number for number, _ in gathered)
        if not count:
            raise self._nothing_measured(split)
        names = dict.fromkeys(name for _, part in gathered for name in part)
        means = {name: sum(part.get(name, 0.0) for _, part in gathered) / count for name in names}
        return MetricsOnly({"neg_loss": -sum(means.values()), **means})
