"""One second moment a tensor (arXiv 1905.11286): novograd, novograd_original, nvnovograd."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paddle

from pyutils.optim.adam import corrections
from pyutils.optim.rule import At, Slots, UpdateRule

if TYPE_CHECKING:
    from paddle import Tensor


def _scalar(parameter: Tensor) -> Tensor:
    return paddle.zeros([], dtype=parameter.dtype)


@dataclass(frozen=True)
class NovoGrad(UpdateRule):
    """The variant of ALBEF's collection: the gradient is normalised twice, moments start with the first gradient."""

    betas: tuple[float, float] = (0.95, 0.98)
    eps: float = 1e-8
    grad_averaging: bool = False

    def slots(self, parameter: Tensor) -> Slots:
        return {
            "moment1": paddle.zeros_like(parameter),
            "moment2": _scalar(parameter),
            "gradient_square": _scalar(parameter),
        }

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        beta1, beta2 = self.betas
        norm = gradient.square().sum()
        mean, moment2, moment1 = slots["gradient_square"], slots["moment2"], slots["moment1"]
        decay = at.weight_decay * parameter
        if at.step == 1:
            mean, moment2, moment1 = norm, norm, gradient / (norm.sqrt() + self.eps) + decay
        else:
            mean = beta2 * mean + (1.0 - beta2) * norm
        scaled = gradient / (mean.sqrt() + self.eps)
        if self.grad_averaging:
            scaled = (1.0 - beta1) * scaled
        moment2 = beta2 * moment2 + (1.0 - beta2) * scaled.square().sum()
        moment1 = beta1 * moment1 + scaled / (moment2.sqrt() + self.eps) + decay
        first, second = corrections(self.betas, at.step)
        moved = {"moment1": moment1, "moment2": moment2, "gradient_square": mean}
        return parameter - at.lr * math.sqrt(second) / first * moment1, moved


@dataclass(frozen=True)
class OriginalNovoGrad(NovoGrad):
    """NovoGrad as ALBEF's factory builds it: the weight decay of the groups never reaches the update."""

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        return super().update(parameter, gradient, slots, at._replace(weight_decay=0.0))


@dataclass(frozen=True)
class NvNovoGrad(UpdateRule):
    """The paper's algorithm 1 as its authors publish it: no bias correction; amsgrad keeps the largest moment."""

    betas: tuple[float, float] = (0.95, 0.98)
    eps: float = 1e-8
    grad_averaging: bool = False
    amsgrad: bool = False

    def slots(self, parameter: Tensor) -> Slots:
        largest = {"moment2_max": _scalar(parameter)} if self.amsgrad else {}
        return {"moment1": paddle.zeros_like(parameter), "moment2": _scalar(parameter), **largest}

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        norm, before = gradient.square().sum(), slots["moment2"]
        moment2 = paddle.where(before == 0.0, norm, self.betas[1] * before + (1.0 - self.betas[1]) * norm)
        moved, largest = {"moment2": moment2}, moment2
        if self.amsgrad:
            largest = moved["moment2_max"] = paddle.maximum(slots["moment2_max"], moment2)
        scaled = gradient / (largest.sqrt() + self.eps) + at.weight_decay * parameter
        if self.grad_averaging:
            scaled = (1.0 - self.betas[0]) * scaled
        moved["moment1"] = self.betas[0] * slots["moment1"] + scaled
        return parameter - at.lr * moved["moment1"], moved
