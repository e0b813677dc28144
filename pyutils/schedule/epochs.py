"""ALBEF's learning rate, a function of the epoch: cosine, tanh or steps, with warm-up, cycles and noise.

During warm-up and after it "epoch" is the number that the schedule is asked for: blocks of 100 iterations within the
first epoch, `epoch + warmup_epochs` afterwards (`pyutils.schedule.albef`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyutils.schedule.config import EpochConfig

_TANH_LOW, _TANH_HIGH = -6.0, 4.0


@dataclass(frozen=True)
class Place:
    """Where an epoch falls: cycle number from 0, epochs since its start, its length."""

    cycle: int
    since: float
    length: float


def place(epoch: float, length: float, cycle_mul: float) -> Place:
    """Cycle of `epoch` when the first one has `length` epochs and each is `cycle_mul` times as long as the last."""
    if cycle_mul == 1.0:
        cycle = int(epoch // length)
        return Place(cycle, epoch - length * cycle, length)
    cycle = math.floor(math.log(1.0 - epoch / length * (1.0 - cycle_mul), cycle_mul))
    start = (1.0 - cycle_mul**cycle) / (1.0 - cycle_mul) * length
    return Place(cycle, epoch - start, cycle_mul**cycle * length)


def _in_cycles(cycle: int, limit: int) -> bool:
    return limit == 0 or cycle < limit


def cosine_rate(epoch: float, lr: float, length: float, cfg: EpochConfig) -> float:
    """Half a cosine wave a cycle from `lr` to `min_lr`, both times decay_rate^cycle; the warm-up comes before it."""
    if epoch < cfg.warmup_epochs:
        return cfg.warmup_lr + epoch * (lr - cfg.warmup_lr) / cfg.warmup_epochs
    now = place(epoch - cfg.warmup_epochs, length, cfg.cycle_mul)
    if not _in_cycles(now.cycle, cfg.cycle_limit):
        return cfg.min_lr
    scale = cfg.decay_rate**now.cycle
    low, high = cfg.min_lr * scale, lr * scale
    return low + 0.5 * (high - low) * (1.0 + math.cos(math.pi * now.since / now.length))


def tanh_rate(epoch: float, lr: float, length: float, cfg: EpochConfig) -> float:
    """A falling tanh a cycle from `lr` to `min_lr`; the warm-up overlays its start and aims at its value there."""
    if epoch < cfg.warmup_epochs:
        target = _tanh_wave(cfg.warmup_epochs, lr, length, cfg)
        return cfg.warmup_lr + epoch * (target - cfg.warmup_lr) / cfg.warmup_epochs
    return _tanh_wave(epoch, lr, length, cfg)


def _tanh_wave(epoch: float, lr: float, length: float, cfg: EpochConfig) -> float:
    now = place(epoch, length, cfg.cycle_mul)
    if not _in_cycles(now.cycle, cfg.cycle_limit):
        return cfg.min_lr
    share = now.since / now.length
    return cfg.min_lr + 0.5 * (lr - cfg.min_lr) * (1.0 - math.tanh(_TANH_LOW * (1.0 - share) + _TANH_HIGH * share))


def step_rate(epoch: float, lr: float, length: float, cfg: EpochConfig) -> float:
    """`lr` times decay_rate every decay_epochs; `length` plays no part, and there is no floor."""
    if epoch < cfg.warmup_epochs:
        return cfg.warmup_lr + epoch * (lr - cfg.warmup_lr) / cfg.warmup_epochs
    return lr * cfg.decay_rate ** (epoch // cfg.decay_epochs)


def run_epochs(name: str, length: int, cfg: EpochConfig) -> int:
    """Epochs that a run of `name` (`cosine`, `tanh`, `step`, `plateau`) lasts: all cycles and the cool-down."""
    if name not in ("cosine", "tanh"):
        return length
    cycles = max(1, cfg.cycle_limit)
    if cfg.cycle_mul == 1.0:
        return length * cycles + cfg.cooldown_epochs
    return math.floor(length * (cfg.cycle_mul**cycles - 1.0) / (cfg.cycle_mul - 1.0)) + cfg.cooldown_epochs
