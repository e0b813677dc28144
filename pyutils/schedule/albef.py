"""ALBEF's schedules step by step: warm-up inside the first epoch, then one rate an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional

from pyutils.schedule.config import EpochConfig
from pyutils.schedule.epochs import cosine_rate, step_rate, tanh_rate
from pyutils.schedule.noise import Draws, Noise, normal_draws
from pyutils.schedule.plateau import Plateau, reduced
from pyutils.schedule.schedule import Schedule, State

Curve = Callable[[float, float, float, EpochConfig], float]
CURVES: dict[str, Curve] = {"cosine": cosine_rate, "tanh": tanh_rate, "step": step_rate}


def noise_of(cfg: EpochConfig, length: float, draws: Optional[Draws] = None) -> Optional[Noise]:
    """The noise that `cfg` asks for over a cycle of `length` epochs; None for none. `draws` replaces the generator."""
    if not cfg.noise:
        return None
    bounds = [share * length for share in cfg.noise]
    end = bounds[1] if len(bounds) > 1 else None
    return Noise(bounds[0], end, cfg.noise_pct, draws or normal_draws(cfg.noise_seed))


class EpochSchedule(Schedule):
    """A curve over epochs, held constant within each.

    In the first epoch the curve moves after update 0, 100, 200, … (`warmup_block`) until the warm-up is over, so update
    0 and 1 have the starting rate. Later epochs e have the rate of `e + warmup_epochs`.
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
        """Rate before the curve is first asked."""
        return self.cfg.warmup_lr if self.cfg.warmup_epochs else self.lr

    def epoch_rate(self, epoch: int) -> float:
        """Rate of the curve at `epoch`, noise included."""
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
    """Warm-up over epochs, then the rate falls by `decay_rate` whenever the metric stays on a plateau.

    `observe` ends an epoch. Noise lasts for its epoch; the rate without it is what goes on. As in the original an empty
    warm-up still gives its first epoch the rate `warmup_lr`.
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
        """Rate in force, whatever the step: epochs end with `observe`."""
        return self.clean_rate * self.noise_factor

    def observe(self, metric: float) -> None:
        """End an epoch with its `metric`; sets the rate of the next one."""
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
        super().load_state_dict(state)
        self.epoch, self.clean_rate = state["epoch"], state["clean_rate"]
        self.noise_factor = state["noise_factor"]
        self.plateau.best, self.plateau.bad_epochs = state["best"], state["bad_epochs"]
