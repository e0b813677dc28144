"""ALBEF's learning rate as a function of the epoch: cosine, tanh or steps, with warm-up and cycles.

"epoch" counts blocks of 100 iterations within the first epoch and is `epoch + warmup_epochs` afterwards
(`pyutils.schedule.albef`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyutils.schedule.config import EpochConfig

_TANH_LOW, _TANH_HIGH = -6.0, 4.0


@dataclass(frozen=True)
class EpochPosition:
    """Position of an epoch: cycle number from 0, epochs since its start, length of the cycle."""

    cycle: int
    since: float
    length: float


def epoch_position(epoch: float, length: float, cycle_mul: float) -> EpochPosition:
    """Locate `epoch` when the first cycle has `length` epochs and each next one is `cycle_mul` times as long."""
    if cycle_mul == 1.0:
        cycle = int(epoch // length)
        return EpochPosition(cycle, epoch - length * cycle, length)
    cycle = math.floor(math.log(1.0 - epoch / length * (1.0 - cycle_mul), cycle_mul))
    start = (1.0 - cycle_mul**cycle) / (1.0 - cycle_mul) * length
    return EpochPosition(cycle, epoch - start, cycle_mul**cycle * length)


def _warming_up(epoch: float, target: float, cfg: EpochConfig) -> float:
    return cfg.warmup_lr + epoch * (target - cfg.warmup_lr) / cfg.warmup_epochs


def cosine_rate(epoch: float, lr: float, length: float, cfg: EpochConfig) -> float:
    """Half a cosine wave per cycle from `lr` to `min_lr`, both times decay_rate^cycle, after the warm-up."""
    if epoch < cfg.warmup_epochs:
        return _warming_up(epoch, lr, cfg)
    now = epoch_position(epoch - cfg.warmup_epochs, length, cfg.cycle_mul)
    if 0 < cfg.cycle_limit <= now.cycle:
        return cfg.min_lr
    scale = cfg.decay_rate**now.cycle
    low, high = cfg.min_lr * scale, lr * scale
    return low + 0.5 * (high - low) * (1.0 + math.cos(math.pi * now.since / now.length))


def tanh_rate(epoch: float, lr: float, length: float, cfg: EpochConfig) -> float:
    """A falling tanh per cycle from `lr` to `min_lr`; the warm-up replaces its start and ends at its value there."""
    if epoch < cfg.warmup_epochs:
        return _warming_up(epoch, _tanh_wave(cfg.warmup_epochs, lr, length, cfg), cfg)
    return _tanh_wave(epoch, lr, length, cfg)


def _tanh_wave(epoch: float, lr: float, length: float, cfg: EpochConfig) -> float:
    now = epoch_position(epoch, length, cfg.cycle_mul)
    if 0 < cfg.cycle_limit <= now.cycle:
        return cfg.min_lr
    share = now.since / now.length
    return cfg.min_lr + 0.5 * (lr - cfg.min_lr) * (1.0 - math.tanh(_TANH_LOW * (1.0 - share) + _TANH_HIGH * share))


def step_rate(epoch: float, lr: float, length: float, cfg: EpochConfig) -> float:
    """`lr` times decay_rate every decay_epochs, without a floor; `length` is not used."""
    if epoch < cfg.warmup_epochs:
        return _warming_up(epoch, lr, cfg)
    return lr * cfg.decay_rate ** (epoch // cfg.decay_epochs)
