"""Learning-rate multipliers as pure functions of the step. `warmup` and `total` are in steps, not always whole."""

from __future__ import annotations

import math
from collections.abc import Sequence


def linear(step: float, warmup: float, total: float) -> float:
    """0 to 1 over the warm-up, then back to 0 at `total`."""
    if step < warmup:
        return step / max(1.0, warmup)
    return max(0.0, (total - step) / max(1.0, total - warmup))


def constant(step: float, warmup: float) -> float:
    """0 to 1 over the warm-up, then 1."""
    return step / max(1.0, warmup) if step < warmup else 1.0


def cosine(step: float, warmup: float, total: float, floor: float = 0.0) -> float:
    """0 to 1 over the warm-up, then half a cosine wave down to `floor` at `total`."""
    if step < warmup:
        return step / max(1.0, warmup)
    progress = min(1.0, (step - warmup) / max(1.0, total - warmup))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def bert_adam(step: float, warmup: float, total: float) -> float:
    """The schedule of BertAdam: progress / warm-up, then linear to 0 at `total`."""
    progress, share = step / total, warmup / total
    if progress < share:
        return progress / share
    return max((progress - 1.0) / (share - 1.0), 0.0) if share < 1.0 else 0.0


def milestones(step: float, warmup: float, at: Sequence[float], gamma: float) -> float:
    """0 to 1 over the warm-up, then multiplied by `gamma` at each step of `at`."""
    if step < warmup:
        return step / warmup
    return gamma ** sum(step >= milestone for milestone in at)


def vilbert_original(step: int, warmup: float, steps_per_epoch: int, at: Sequence[int], gamma: float) -> float:
    """The default schedule of ViLBERT's task training, with its jumps; `at` counts epochs.

    Two schedulers set the rate: that of the epochs, 1 during warm-up, wins on the first step of every epoch.
    """
    if step < warmup and step % steps_per_epoch:
        return step / warmup
    return gamma ** sum(step // steps_per_epoch >= epoch for epoch in at)
