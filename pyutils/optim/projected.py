"""Updates without the radial part of scale-invariant weights (arXiv 2006.08217): adamp, sgdp."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paddle

from pyutils.optim.adam import AdamRule, corrections, move_moments
from pyutils.optim.rule import At, Slots, UpdateRule

if TYPE_CHECKING:
    from paddle import Tensor


def _norm(rows: Tensor) -> Tensor:
    return rows.square().sum(axis=1, keepdim=True).sqrt()


def _projected(weights: Tensor, gradients: Tensor, moves: Tensor, delta: float, eps: float) -> tuple[Tensor, Tensor]:
    """(whether the weights are scale-invariant, `moves` without their part along the weights); all `[rows, size]`.

    Scale-invariant: |cosine(weights, gradients)| of every row is under delta / sqrt(size).
    """
    cosine = (weights * gradients).sum(axis=1, keepdim=True).abs() / (_norm(weights) + eps) / (_norm(gradients) + eps)
    invariant = cosine.max() < delta / math.sqrt(weights.shape[1])
    unit = weights / (_norm(weights) + eps)
    return invariant, moves - unit * (unit * moves).sum(axis=1, keepdim=True)


def project(
    parameter: Tensor, gradient: Tensor, move: Tensor, delta: float, wd_ratio: float, eps: float
) -> tuple[Tensor, Tensor | float]:
    """(`move` with the radial part taken out, factor on the weight decay), equations 11 and 12 of the paper.

    Channels are tried first, then the whole tensor; without either, or for fewer than two dimensions, `move` and 1 are
    returned. The choice is made by masks, so that the device is never waited for.
    """
    if parameter.ndim < 2:
        return move, 1.0
    result, ratio = move, paddle.ones([], dtype=parameter.dtype)
    for shape in ([1, -1], [parameter.shape[0], -1]):  # the later, by channels, takes precedence
        value, slope, moved = (tensor.reshape(shape) for tensor in (parameter, gradient, move))
        invariant, tangential = _projected(value, slope, moved, delta, eps)
        result = paddle.where(invariant, tangential.reshape(move.shape), result)
        ratio = paddle.where(invariant, paddle.full_like(ratio, wd_ratio), ratio)
    return result, ratio


@dataclass(frozen=True)
class AdamP(AdamRule):
    """AdamW with projection (algorithm 2)."""

    delta: float = 0.1
    wd_ratio: float = 0.01
    nesterov: bool = True

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        first, second = corrections(self.betas, at.step)
        moved = move_moments(slots, gradient, self.betas)
        momentum = moved["moment1"]
        if self.nesterov:
            momentum = self.betas[0] * momentum + (1.0 - self.betas[0]) * gradient
        move = momentum / (moved["moment2"].sqrt() / math.sqrt(second) + self.eps)
        move, ratio = project(parameter, gradient, move, self.delta, self.wd_ratio, self.eps)
        return parameter * (1.0 - at.lr * at.weight_decay * ratio) - at.lr / first * move, moved


@dataclass(frozen=True)
class SGDP(UpdateRule):
    """Momentum with projection (algorithm 1); decay is divided by 1 - momentum to match L2's strength."""

    momentum: float = 0.9
    dampening: float = 0.0
    nesterov: bool = True
    eps: float = 1e-8
    delta: float = 0.1
    wd_ratio: float = 0.1

    def slots(self, parameter: Tensor) -> Slots:
        return {"velocity": paddle.zeros_like(parameter)}

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        velocity = self.momentum * slots["velocity"] + (1.0 - self.dampening) * gradient
        move = gradient + self.momentum * velocity if self.nesterov else velocity
        move, ratio = project(parameter, gradient, move, self.delta, self.wd_ratio, self.eps)
        decay = at.lr * at.weight_decay / (1.0 - self.momentum)
        kept = velocity if self.nesterov else move  # the authors' code projects in place, hence the momentum itself
        return parameter * (1.0 - decay * ratio) - at.lr * move, {"velocity": kept}
