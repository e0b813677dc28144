"""ALBEF's schedules by step: warm-up within the first epoch, then one learning rate per epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from pyutils.schedule.config import EpochConfig
from pyutils.schedule.epochs import cosine_rate, step_rate, tanh_rate
from pyutils.schedule.plateau import Plateau, reduced
from pyutils.schedule.schedule import Schedule, State

Curve = Callable[[float, float, float, EpochConfig], float]
CURVES: dict[str, Curve] = {"cosine": cosine_rate, "tanh": tanh_rate, "step": step_rate}


@dataclass(frozen=True)
class Noise:
    """Relative noise on the learning rate from epoch `start` to before epoch `end` (None: to the last one)."""

    start: float
    end: Optional[float]
    limit: float
    seed: int

    def draws(self, epoch: int) -> Iterator[float]:
        """Yield standard normal numbers from a generator of `epoch`."""
        generator = np.random.default_rng([self.seed, epoch])
        while True:
            yield float(generator.standard_normal())

    def factor(self, epoch: int) -> float:
        """Return the factor on the learning rate of `epoch`: within 1 ± `limit`, 1 outside the range."""
        if epoch < self.start or (self.end is not None and epoch >= self.end):
            return 1.0
        return 1.0 + next(value for value in self.draws(epoch) if abs(value) < self.limit)


def noise_of(cfg: EpochConfig, length: float) -> Optional[Noise]:
    """Return the noise of a cycle of `length` epochs, or None where `cfg` has none."""
    if not cfg.noise:
        return None
    bounds = [share * length for share in cfg.noise]
    return Noise(bounds[0], bounds[1] if len(bounds) > 1 else None, cfg.noise_pct, cfg.noise_seed)


class EpochSchedule(Schedule):
    """A curve over epochs, constant within each epoch.

    In the first epoch the curve advances after update 0, 100, 200, … (`warmup_block`) until the end of the warm-up, so
    that updates 0 and 1 have the starting rate. A later epoch e has the rate of `e + warmup_epochs`.
    """

    def __init__(
        self,
        curve: str,
        lr: float,
        length: float,
        steps_per_epoch: int,
        cfg: EpochConfig,
        noise: Optional[Noise] = None,
    ) -> None:
        self.curve = CURVES[curve]
        self.lr = lr
        self.length = length
        self.steps_per_epoch = steps_per_epoch
        self.cfg = cfg
        self.noise = noise

    def starting_rate(self) -> float:
        """Learning rate of the first update."""
        return self.cfg.warmup_lr if self.cfg.warmup_epochs else self.lr

    def epoch_rate(self, epoch: int) -> float:
        """Learning rate of `epoch` on the curve, with noise."""
        rate = self.curve(epoch, self.lr, self.length, self.cfg)
        return rate if self.noise is None else rate * self.noise.factor(epoch)

    def rate(self, step: int) -> float:
        epoch = step // self.steps_per_epoch
        if epoch:
            return self.epoch_rate(epoch + self.cfg.warmup_epochs)
        if step == 0:
            return self.starting_rate()
        return self.epoch_rate(min((step - 1) // self.cfg.warmup_block, self.cfg.warmup_epochs))


class PlateauSchedule(Schedule):
    """Warm-up over epochs, then multiply the rate by `decay_rate` whenever the metric stops improving.

    `observe` ends an epoch. Noise is not carried over to the next epoch. As in the original, the first epoch has the
    rate `warmup_lr` even without warm-up.
    """

    def __init__(self, lr: float, cfg: EpochConfig, noise: Optional[Noise] = None) -> None:
        self.lr = lr
        self.cfg = cfg
        self.noise = noise
        self.plateau = Plateau(cfg.patience_epochs, cfg.higher_is_better)
        self.epoch = 0
        self.clean_rate = cfg.warmup_lr
        self.noise_factor = 1.0

    def rate(self, step: int) -> float:
        """Current learning rate; independent of `step`, because epochs end with `observe`."""
        return self.clean_rate * self.noise_factor

    def observe(self, metric: float) -> None:
        """End an epoch with its `metric` and set the rate of the next one."""
        self.epoch += 1
        self.set_epoch(self.epoch, metric)

    def set_epoch(self, epoch: int, metric: float) -> None:
        """Set the rate of `epoch`, given the metric before it."""
        self.epoch = epoch
        if epoch <= self.cfg.warmup_epochs:
            rise = (self.lr - self.cfg.warmup_lr) / self.cfg.warmup_epochs if self.cfg.warmup_epochs else 0.0
            self.clean_rate = self.cfg.warmup_lr + epoch * rise
            return
        if self.plateau.observe(metric):
            self.clean_rate = reduced(self.clean_rate, self.cfg.decay_rate, self.cfg.min_lr)
        self.noise_factor = 1.0 if self.noise is None else self.noise.factor(epoch)

    def state_dict(self) -> State:
        return {
            "epoch": self.epoch,
            "clean_rate": self.clean_rate,
            "noise_factor": self.noise_factor,
            "best": self.plateau.best,
            "bad_epochs": self.plateau.bad_epochs,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.clean_rate = state["epoch"], state["clean_rate"]
        self.noise_factor = state["noise_factor"]
        self.plateau.best, self.plateau.bad_epochs = state["best"], state["bad_epochs"]
