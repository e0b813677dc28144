"""Gradient clipping by norm, scaled as PyTorch does: by `clip_norm / (norm + 1e-6)` when that is under 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import paddle

from pyutils.compat import squared_norm

if TYPE_CHECKING:
    from paddle import Tensor

_GUARD = 1e-6


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """L2 norm of all gradients together, scalar tensor."""
    return paddle.sqrt(paddle.add_n([squared_norm(gradient) for gradient in gradients]))


def clip_(gradients: Sequence[Tensor], mode: str, clip_norm: float) -> Tensor | None:
    """Clip in place by `mode` (`global`, `per_parameter`, `none`); returns the norm before it, for `global` only."""
    if mode == "global":
        norm = total_norm(gradients)
        _shrink_(gradients, norm, clip_norm)
        return norm
    if mode == "per_parameter":
        for gradient in gradients:
            _shrink_([gradient], total_norm([gradient]), clip_norm)
    return None


def _shrink_(gradients: Sequence[Tensor], norm: Tensor, clip_norm: float) -> None:
    """Bring gradients of together `norm` down to `clip_norm`."""
    factor = paddle.clip(clip_norm / (norm + _GUARD), max=1.0)
    # A device is not waited for; on the CPU the value is at hand, and most of the time nothing need be done.
    if norm.place.is_cpu_place():
        if float(factor) == 1.0:
            return
        for gradient in gradients:
            gradient.scale_(float(factor))
        return
    for gradient in gradients:
        gradient.multiply_(factor.astype(gradient.dtype))
