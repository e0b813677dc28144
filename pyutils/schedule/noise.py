"""Noise on a learning rate: relative, normal, redrawn until it is small enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Optional

import numpy as np

Draws = Callable[[int], Iterator[float]]


def normal_draws(seed: int) -> Draws:
    """Standard normal numbers for each epoch, from a generator of that epoch's own."""

    def draws(epoch: int) -> Iterator[float]:
        generator = np.random.default_rng([seed, epoch])
        while True:
            yield float(generator.standard_normal())

    return draws


@dataclass(frozen=True)
class Noise:
    """Noise from epoch `start` to before epoch `end` (None: for ever); `draws` gives the numbers of an epoch."""

    start: float
    end: Optional[float]
    limit: float
    draws: Draws

    def factor(self, epoch: int) -> float:
        """What the rate of `epoch` is multiplied by: 1 outside the range, else within 1 +- limit."""
        if epoch < self.start or (self.end is not None and epoch >= self.end):
            return 1.0
        return 1.0 + next(value for value in self.draws(epoch) if abs(value) < self.limit)
