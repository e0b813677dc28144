"""Adam with scheduled or rectified rates: nadam, radam, radam_original."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pyutils.optim.adam import AdamRule, corrections, move_moments
from pyutils.optim.rule import At, Slots

if TYPE_CHECKING:
    from paddle import Tensor

_LEAST_LENGTH = 5.0  # under this many effective samples the second moment is not used


def nadam_momentum(step: int, beta1: float, schedule_decay: float) -> float:
    """Momentum of `step` (Dozat 2016, algorithm 8): beta1 (1 - 0.96^(step schedule_decay) / 2)."""
    return beta1 * (1.0 - 0.5 * 0.96 ** (step * schedule_decay))


@lru_cache(maxsize=64)
def nadam_product(step: int, beta1: float, schedule_decay: float) -> float:
    """Product of the momenta of steps 1 to `step`; it reaches 0 in floating point and then stays there."""
    product = 1.0
    for index in range(1, step + 1):
        product *= nadam_momentum(index, beta1, schedule_decay)
        if product == 0.0:
            break
    return product


@dataclass(frozen=True)
class NAdam(AdamRule):
    """Adam with Nesterov momentum and a momentum schedule (Dozat 2016); L2 decay joins the gradient."""

    schedule_decay: float = 4e-3

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        if at.weight_decay:
            gradient = gradient + at.weight_decay * parameter
        now = nadam_momentum(at.step, self.betas[0], self.schedule_decay)
        later = nadam_momentum(at.step + 1, self.betas[0], self.schedule_decay)
        product = nadam_product(at.step, self.betas[0], self.schedule_decay)
        moved = move_moments(slots, gradient, self.betas)
        root = moved["moment2"].sqrt() / math.sqrt(corrections(self.betas, at.step)[1]) + self.eps
        by_gradient = at.lr * (1.0 - now) / (1.0 - product)
        by_moment = at.lr * later / (1.0 - product * later)
        return parameter - (by_gradient * gradient + by_moment * moved["moment1"]) / root, moved


def rectified_step(betas: tuple[float, float], step: int) -> tuple[float, bool]:
    """(step size for rate 1, whether the second moment is used) of RAdam, arXiv 1908.03265, algorithm 2."""
    first, second = corrections(betas, step)
    longest = 2.0 / (1.0 - betas[1]) - 1.0
    length = longest - 2.0 * step * (1.0 - second) / second
    if length < _LEAST_LENGTH:
        return 1.0 / first, False
    rectified = (length - 4.0) / (longest - 4.0) * (length - 2.0) / length * longest / (longest - 2.0)
    return math.sqrt(second * rectified) / first, True


@dataclass(frozen=True)
class RAdam(AdamRule):
    """Rectified Adam (arXiv 1908.03265) with decoupled decay; eps joins the root before its bias correction."""

    def step_rate(self, at: At) -> float:
        """The rate that the step size is made with."""
        return at.lr

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        factor, adaptive = rectified_step(self.betas, at.step)
        step_size, decay = self.step_rate(at) * factor, at.lr * at.weight_decay
        if adaptive and step_size:
            return self.move(parameter, gradient, slots, step_size, self.eps, decay)
        moved = move_moments(slots, gradient, self.betas)
        return (1.0 - decay) * parameter - step_size * moved["moment1"], moved


@dataclass(frozen=True)
class OriginalRAdam(RAdam):
    """RAdam as the originals have it: the step size is cached by step number, so every group moves at the first one's
    rate. Decay keeps the group's own."""

    def step_rate(self, at: At) -> float:
        return at.first_lr
