"""Rates divided by a running mean of squared gradients: rmsprop, rmsprop_tf, adadelta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import paddle

from pyutils.optim.rule import At, Slots, UpdateRule

if TYPE_CHECKING:
    from paddle import Tensor


@dataclass(frozen=True)
class RMSprop(UpdateRule):
    """RMSprop as PyTorch's: eps outside the root, the rate applied to the momentum."""

    alpha: float = 0.9
    momentum: float = 0.9
    eps: float = 1e-8
    centered: bool = False

    def slots(self, parameter: Tensor) -> Slots:
        return {name: paddle.zeros_like(parameter) for name in ("square", "mean", "velocity")}

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        if at.weight_decay:
            gradient = gradient + at.weight_decay * parameter
        moved = _averages(slots, gradient, self.alpha, self.centered)
        root = (moved["square"] - moved["mean"].square()).sqrt() + self.eps
        moved["velocity"] = self.momentum * slots["velocity"] + gradient / root
        return parameter - at.lr * moved["velocity"], moved


@dataclass(frozen=True)
class TensorFlowRMSprop(UpdateRule):
    """RMSprop as TensorFlow's: the mean square starts at 1, eps is inside the root, the rate enters the momentum.

    decoupled_decay takes weight_decay x weight off each step, whatever the rate, as the original does.
    """

    alpha: float = 0.9
    momentum: float = 0.9
    eps: float = 1e-10
    centered: bool = False
    decoupled_decay: bool = False
    lr_in_momentum: bool = True

    def slots(self, parameter: Tensor) -> Slots:
        zeros = {name: paddle.zeros_like(parameter) for name in ("mean", "velocity")}
        return {"square": paddle.ones_like(parameter), **zeros}

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        if at.weight_decay and self.decoupled_decay:
            parameter = (1.0 - at.weight_decay) * parameter
        elif at.weight_decay:
            gradient = gradient + at.weight_decay * parameter
        moved = _averages(slots, gradient, self.alpha, self.centered)
        scaled = gradient / (moved["square"] - moved["mean"].square() + self.eps).sqrt()
        inside, outside = (at.lr, 1.0) if self.lr_in_momentum else (1.0, at.lr)
        moved["velocity"] = self.momentum * slots["velocity"] + inside * scaled
        return parameter - outside * moved["velocity"], moved


def _averages(slots: Slots, gradient: Tensor, alpha: float, centered: bool) -> Slots:
    """Running means of the squared gradient and, when `centered`, of the gradient itself (else it stays 0)."""
    mean = slots["mean"]
    return {
        "square": alpha * slots["square"] + (1.0 - alpha) * gradient * gradient,
        "mean": alpha * mean + (1.0 - alpha) * gradient if centered else mean,
    }


@dataclass(frozen=True)
class Adadelta(UpdateRule):
    """Adadelta (arXiv 1212.5701, algorithm 1); L2 decay joins the gradient."""

    rho: float = 0.9
    eps: float = 1e-6

    def slots(self, parameter: Tensor) -> Slots:
        return {"square": paddle.zeros_like(parameter), "moved": paddle.zeros_like(parameter)}

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        if at.weight_decay:
            gradient = gradient + at.weight_decay * parameter
        square = self.rho * slots["square"] + (1.0 - self.rho) * gradient * gradient
        move = ((slots["moved"] + self.eps) / (square + self.eps)).sqrt() * gradient
        moved = self.rho * slots["moved"] + (1.0 - self.rho) * move * move
        return parameter - at.lr * move, {"square": square, "moved": moved}
