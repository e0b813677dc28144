"""The order of records in training and evaluation: a pure function of the seed and the batch number.

There is no state: any batch of any epoch can be made without the ones before it. So a resumed run equals an
uninterrupted one, and results do not depend on the number of data workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pyutils.errors import InputError

# Streams of random numbers drawn from one seed; the first number keeps them apart.
_SHUFFLE, _COLLATE, _EVALUATE = 0, 1, 2


@lru_cache(maxsize=2)
def permutation(records: int, seed: int, epoch: int) -> np.ndarray:
    """The order of epoch `epoch`: [records] int64, a permutation of `range(records)`. Read-only."""
    order = np.random.default_rng([_SHUFFLE, seed, epoch]).permutation(records)
    order.flags.writeable = False
    return order


@dataclass(frozen=True)
class TrainOrder:
    """Micro-batches of a training run.

    One optimizer step takes `accumulation` micro-batches of `batch_size` records on each of `world` processes. Micro-
    batch `m` of an epoch covers positions `[m·W·B, (m+1)·W·B)` of the epoch's permutation; process `rank` takes the
    `rank`-th `B` of them. So two processes at B read the records of one process at 2B. Records at the end of an
    epoch that do not fill a step are left out of that epoch; each epoch has its own permutation.
    """

    records: int
    batch_size: int
    world: int = 1
    rank: int = 0
    accumulation: int = 1
    seed: int = 0

    @property
    def effective_batch(self) -> int:
        """Records of one optimizer step over all processes."""
        return self.batch_size * self.world * self.accumulation

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return self.records // self.effective_batch

    def check(self) -> None:
        """Raise InputError when the training split is empty or smaller than one optimizer step."""
        if self.records == 0:
            raise InputError("the training split is empty: check its annotation files and filters")
        if self.steps_per_epoch == 0:
            raise InputError(
                f"the training split has {self.records} records, fewer than one optimizer step takes: batch_size "
                f"{self.batch_size} x {self.world} process(es) x accumulation_steps {self.accumulation} = "
                f"{self.effective_batch}. Set train.batch_size to at most "
                f"{max(1, self.records // (self.world * self.accumulation))}"
                + (", or lower train.accumulation_steps." if self.accumulation > 1 else ".")
            )

    def _locate(self, micro_batch: int) -> tuple[int, int]:
        """(epoch, number within the epoch) of the `micro_batch`-th micro-batch of the run."""
        return divmod(micro_batch, self.steps_per_epoch * self.accumulation)

    def positions(self, micro_batch: int) -> np.ndarray:
        """Positions of the records of this process's micro-batch: [batch_size] int64."""
        epoch, number = self._locate(micro_batch)
        start = (number * self.world + self.rank) * self.batch_size
        return permutation(self.records, self.seed, epoch)[start : start + self.batch_size]

    def rng(self, micro_batch: int) -> np.random.Generator:
        """Random generator for the collate of this micro-batch."""
        epoch, number = self._locate(micro_batch)
        return np.random.default_rng([_COLLATE, self.seed, epoch, number, self.rank])


@dataclass(frozen=True)
class EvalOrder:
    """Batches of an evaluation: process `rank` takes records `rank, rank + world, …`, each once."""

    records: int
    batch_size: int
    world: int = 1
    rank: int = 0

    def __len__(self) -> int:
        return -(-len(range(self.rank, self.records, self.world)) // self.batch_size)

    def positions(self, batch: int) -> np.ndarray:
        """Positions of the records of this process's batch `batch`: [≤ batch_size] int64."""
        own = np.arange(self.rank, self.records, self.world)
        return own[batch * self.batch_size : (batch + 1) * self.batch_size]

    def rng(self, batch: int) -> np.random.Generator:
        """Random generator for the collate of this batch; the same in every evaluation."""
        return np.random.default_rng([_EVALUATE, batch, self.rank])
