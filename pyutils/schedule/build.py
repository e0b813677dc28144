"""Build a schedule from its configuration and the length of a run."""

from __future__ import annotations

import math
import warnings

from pyutils.schedule import curves
from pyutils.schedule.albef import EpochSchedule, PlateauSchedule, noise_of
from pyutils.schedule.config import STEP_SCHEDULES, ScheduleConfig
from pyutils.schedule.schedule import Multiplied, Multiplier, Schedule


def build_schedule(cfg: ScheduleConfig, total_steps: int, steps_per_epoch: int, lr: float = 1.0) -> Schedule:
    """Return the schedule of `cfg` for a run of `total_steps` updates, `steps_per_epoch` per epoch, base rate `lr`.

    With `lr` 1 the rates are multipliers; the ALBEF schedules need the real one: their other rates are absolute.
    Warns when the first epoch is too short for ALBEF's warm-up.
    """
    if cfg.name not in STEP_SCHEDULES:
        return _albef(cfg, total_steps, steps_per_epoch, lr)
    return Multiplied(lr, _multiplier(cfg, total_steps, steps_per_epoch, lr), cfg.first_step)


def warmup_length(cfg: ScheduleConfig, total_steps: int, steps_per_epoch: int) -> float:
    """Return the warm-up in steps: `warmup_steps`, else `warmup_epochs`, else the fraction `warmup` of all steps."""
    if cfg.warmup_steps is not None:
        return cfg.warmup_steps
    if cfg.warmup_epochs is not None:
        return cfg.warmup_epochs * steps_per_epoch
    return cfg.warmup * total_steps


def _multiplier(cfg: ScheduleConfig, total: int, steps_per_epoch: int, lr: float) -> Multiplier:
    warmup = warmup_length(cfg, total, steps_per_epoch)
    steps_of_milestones = [epoch * steps_per_epoch for epoch in cfg.milestones]
    table: dict[str, Multiplier] = {
        "linear": lambda step: curves.linear(step, warmup, total),
        "cosine": lambda step: curves.cosine(step, warmup, total, cfg.min_lr / lr),
        "constant": lambda step: curves.constant(step, warmup),
        "bert_adam": lambda step: curves.bert_adam(step, warmup, total),
        "milestones": lambda step: curves.milestones(step, warmup, steps_of_milestones, cfg.gamma),
        "vilbert_original": lambda step: curves.vilbert_original(
            step, warmup, steps_per_epoch, cfg.milestones, cfg.gamma
        ),
    }
    return table[cfg.name]


def _albef(cfg: ScheduleConfig, total_steps: int, steps_per_epoch: int, lr: float) -> Schedule:
    curve = cfg.name.partition("_")[2]
    length = cfg.albef.epochs or math.ceil(total_steps / steps_per_epoch)
    noise = noise_of(cfg.albef, length)
    if curve == "plateau":
        return PlateauSchedule(lr, cfg.albef, noise)
    reached = (min(total_steps, steps_per_epoch) - 2) // cfg.albef.warmup_block
    if reached < cfg.albef.warmup_epochs:
        warnings.warn(_short_epoch(cfg, steps_per_epoch, lr), stacklevel=3)
    return EpochSchedule(curve, lr, length, steps_per_epoch, cfg.albef, noise)


def _short_epoch(cfg: ScheduleConfig, steps_per_epoch: int, lr: float) -> str:
    needed = cfg.albef.warmup_epochs * cfg.albef.warmup_block + 2
    fitting = max(1, (steps_per_epoch - 2) // max(1, cfg.albef.warmup_epochs))
    return (
        f"schedule {cfg.name}: the first epoch has {steps_per_epoch} steps, but the warm-up of "
        f"{cfg.albef.warmup_epochs} x {cfg.albef.warmup_block} steps needs {needed} to reach the base rate {lr:g}; the "
        f"second epoch will start above where the first one ended. Set schedule.albef.warmup_block to {fitting} or "
        "less, lower schedule.albef.warmup_epochs, or use schedule.name cosine."
    )
