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
    """Clip in place by `mode` (`global`, `per_parameter`, `none`); return the norm before it, for `global` only."""
    groups: dict[str, list[Sequence[Tensor]]] = {
        "global": [gradients],
        "per_parameter": [[gradient] for gradient in gradients],
        "none": [],
    }
    norm = None
    for group in groups[mode]:
        norm = total_norm(group)
        _shrink_(group, norm, clip_norm)
    return norm if mode == "global" else None


def _shrink_(gradients: Sequence[Tensor], norm: Tensor, clip_norm: float) -> None:
    """Scale gradients whose joint norm is `norm` down to `clip_norm`."""
    factor = paddle.clip(clip_norm / (norm + _GUARD), max=1.0)
    # Reading the factor on the CPU is free and mostly saves the multiplication; on a GPU it would wait for the device.
    on_cpu = norm.place.is_cpu_place()
    if on_cpu and float(factor) == 1.0:
        return
    for gradient in gradients:
        if on_cpu:
            gradient.scale_(float(factor))
        else:
            gradient.multiply_(factor.astype(gradient.dtype))
