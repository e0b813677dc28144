"""Stochastic gradient descent with momentum: sgd (Nesterov, as in ALBEF's factory) and momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyutils.optim.rule import At, Slots, UpdateRule

if TYPE_CHECKING:
    from paddle import Tensor


@dataclass(frozen=True)
class SGD(UpdateRule):
    """Momentum m <- momentum m + (1 - dampening) g, initially the first gradient; L2 decay is added to the gradient."""

    momentum: float = 0.9
    dampening: float = 0.0
    nesterov: bool = True

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        if at.weight_decay:
            gradient = gradient + at.weight_decay * parameter
        velocity = gradient.clone()
        if at.step > 1:
            velocity = self.momentum * slots["velocity"] + (1.0 - self.dampening) * gradient
        direction = gradient + self.momentum * velocity if self.nesterov else velocity
        return parameter - at.lr * direction, {"velocity": velocity}

    def slots(self, parameter: Tensor) -> Slots:
        return {"velocity": parameter * 0.0}


@dataclass(frozen=True)
class Momentum(SGD):
    """SGD without Nesterov momentum."""

    nesterov: bool = False
