"""Gradient clipping by norm, as `torch.nn.utils.clip_grad_norm_` scales: `clip_norm / (norm + 1e-6)` when that is under 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import paddle

if TYPE_CHECKING:
    from paddle import Tensor

_GUARD = 1e-6


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """L2 norm of all gradients together, float32 scalar tensor."""
    squares = [paddle.sum(gradient.astype("float32") ** 2) for gradient in gradients]
    return paddle.sqrt(paddle.add_n(squares)) if squares else paddle.zeros([], dtype="float32")


def clip_factor(norm: Tensor, clip_norm: float) -> Tensor:
    """What gradients of norm `norm` are multiplied by, a scalar tensor in (0, 1]."""
    return paddle.clip(clip_norm / (norm + _GUARD), max=1.0)


def clipped(gradients: Sequence[Tensor], mode: str, clip_norm: float) -> tuple[list[Tensor], Tensor | None]:
    """`gradients` after clipping by `mode` (`global`, `per_parameter`, `none`), and the norm before it (global only)."""
    if mode == "global":
        norm = total_norm(gradients)
        factor = clip_factor(norm, clip_norm)
        return [gradient * factor.astype(gradient.dtype) for gradient in gradients], norm
    if mode == "per_parameter":
        factors = [clip_factor(total_norm([gradient]), clip_norm) for gradient in gradients]
        return [gradient * factor.astype(gradient.dtype) for gradient, factor in zip(gradients, factors)], None
    return list(gradients), None
