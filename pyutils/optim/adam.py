"""Adam with different weight decay and bias correction: adam, adamw, adamw_transformers, bert_adam."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import paddle

from pyutils.compat import adamw_kernel_
from pyutils.optim.rule import At, Slots, UpdateRule

if TYPE_CHECKING:
    from paddle import Tensor


def corrections(betas: tuple[float, float], step: int) -> tuple[float, float]:
    """Return the bias corrections (1 - beta1^step, 1 - beta2^step) of both moments (arXiv 1412.6980, §3)."""
    return 1.0 - betas[0] ** step, 1.0 - betas[1] ** step


def moments(parameter: Tensor) -> Slots:
    """Return first and second moment, zero."""
    return {"moment1": paddle.zeros_like(parameter), "moment2": paddle.zeros_like(parameter)}


def move_moments(slots: Slots, gradient: Tensor, betas: tuple[float, float]) -> Slots:
    """Return both moments updated by `gradient`."""
    return {
        "moment1": betas[0] * slots["moment1"] + (1.0 - betas[0]) * gradient,
        "moment2": betas[1] * slots["moment2"] + (1.0 - betas[1]) * gradient * gradient,
    }


@dataclass(frozen=True)
class AdamRule(UpdateRule):
    """Base of Adam-like rules: two moments, one fused kernel call per update."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def slots(self, parameter: Tensor) -> Slots:
        return moments(parameter)

    def move(self, parameter: Tensor, gradient: Tensor, slots: Slots, step_size: float, eps: float, decay: float):
        """Update in place by the fused kernel; return (parameter, slots)."""
        pair = (slots["moment1"], slots["moment2"])
        adamw_kernel_(parameter, gradient, pair, self.betas, step_size, eps, decay)
        return parameter, slots


@dataclass(frozen=True)
class AdamW(AdamRule):
    """Decoupled weight decay (arXiv 1711.05101, algorithm 2) before the update, as in Paddle and PyTorch.

    amsgrad divides by the largest second moment so far (arXiv 1904.09237).
    """

    amsgrad: bool = False

    def slots(self, parameter: Tensor) -> Slots:
        largest = {"moment2_max": paddle.zeros_like(parameter)} if self.amsgrad else {}
        return {**moments(parameter), **largest}

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        first, second = corrections(self.betas, at.step)
        step_size, eps, decay = at.lr * math.sqrt(second) / first, self.eps * math.sqrt(second), at.lr * at.weight_decay
        if not self.amsgrad:
            return self.move(parameter, gradient, slots, step_size, eps, decay)
        moved = move_moments(slots, gradient, self.betas)
        moved["moment2_max"] = paddle.maximum(slots["moment2_max"], moved["moment2"])
        ratio = moved["moment1"] / (moved["moment2_max"].sqrt() + eps)
        return (1.0 - decay) * parameter - step_size * ratio, moved


@dataclass(frozen=True)
class Adam(AdamRule):
    """Adam (arXiv 1412.6980) with weight decay added to the gradient (L2), as in PyTorch."""

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        first, second = corrections(self.betas, at.step)
        if at.weight_decay:
            gradient = gradient + at.weight_decay * parameter
        step_size = at.lr * math.sqrt(second) / first
        return self.move(parameter, gradient, slots, step_size, self.eps * math.sqrt(second), 0.0)


@dataclass(frozen=True)
class TransformersAdamW(AdamRule):
    """AdamW of the pytorch-transformers releases that ViLBERT was trained with.

    eps is added to the root of the second moment before its bias correction, weight decay is applied after the update,
    and `correct_bias=False` omits the correction (ViLBERT's fine-tuning).
    """

    eps: float = 1e-6
    correct_bias: bool = True

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        first, second = corrections(self.betas, at.step) if self.correct_bias else (1.0, 1.0)
        decay = at.lr * at.weight_decay
        # (p - s u)(1 - d) = p (1 - d) - s (1 - d) u: decay after the update, in terms of the kernel
        step_size = at.lr * math.sqrt(second) / first * (1.0 - decay)
        return self.move(parameter, gradient, slots, step_size, self.eps, decay)


@dataclass(frozen=True)
class BertAdam(AdamRule):
    """The optimizer of BERT's and VisualBERT's authors: no bias correction, each gradient clipped to norm 1."""

    default_clip: ClassVar[str] = "per_parameter"
    eps: float = 1e-6

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        return self.move(parameter, gradient, slots, at.lr, self.eps, at.lr * at.weight_decay)
