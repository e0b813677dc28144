"""Adafactor (arXiv 1804.04235): second moments of matrices kept as row and column means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

import paddle

from pyutils.optim.rule import At, Slots, UpdateRule

if TYPE_CHECKING:
    from paddle import Tensor


def root_mean_square(tensor: Tensor) -> Tensor:
    """Scalar tensor."""
    return tensor.square().mean().sqrt()


@dataclass(frozen=True)
class Adafactor(UpdateRule):
    """Algorithms 4 and 5. Without a base rate (`lr` empty) the step size is relative to the size of the parameter.

    betas: only the first counts, as momentum of the update; empty for none. eps joins the squared gradient.
    warmup_init lets the relative rate rise from 1e-6.
    """

    betas: Optional[tuple[float, float]] = None
    eps: float = 1e-30
    eps_scale: float = 1e-3
    clip_threshold: float = 1.0
    decay_rate: float = -0.8
    scale_parameter: bool = True
    warmup_init: bool = False

    def slots(self, parameter: Tensor) -> Slots:
        slots = {"moment1": paddle.zeros_like(parameter)} if self.betas else {}
        shape = parameter.shape
        if len(shape) < 2:
            return {**slots, "moment2": paddle.zeros_like(parameter)}
        row = paddle.zeros(shape[:-1], dtype=parameter.dtype)
        column = paddle.zeros([*shape[:-2], shape[-1]], dtype=parameter.dtype)
        return {**slots, "row": row, "column": column}

    def rate(self, parameter: Tensor, at: At) -> Tensor | float:
        """The given rate, else min(1e-2, 1/sqrt(step)) times the root mean square of the parameter (§8)."""
        if at.lr is not None:
            return at.lr
        relative = min(1e-6 * at.step if self.warmup_init else 1e-2, 1.0 / math.sqrt(at.step))
        if not self.scale_parameter:
            return relative
        return relative * paddle.clip(root_mean_square(parameter), min=self.eps_scale)

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        rate = self.rate(parameter, at)
        keep = 1.0 - at.step**self.decay_rate
        moved, scale = self._second_moment(slots, gradient.square() + self.eps, keep)
        move = gradient * scale
        move = move / paddle.clip(root_mean_square(move) / self.clip_threshold, min=1.0) * rate
        if self.betas:
            move = self.betas[0] * slots["moment1"] + (1.0 - self.betas[0]) * move
            moved["moment1"] = move
        return parameter * (1.0 - at.weight_decay * rate) - move, moved

    def _second_moment(self, slots: Slots, squared: Tensor, keep: float) -> tuple[Slots, Tensor]:
        """(new slots, 1 / root of the second moment); matrices are approximated by rank one (§3)."""
        if "moment2" in slots:
            moment2 = keep * slots["moment2"] + (1.0 - keep) * squared
            return {"moment2": moment2}, moment2.rsqrt()
        row = keep * slots["row"] + (1.0 - keep) * squared.mean(axis=-1)
        column = keep * slots["column"] + (1.0 - keep) * squared.mean(axis=-2)
        by_row = (row / row.mean(axis=-1, keepdim=True)).rsqrt().unsqueeze(-1)
        return {"row": row, "column": column}, by_row * column.rsqrt().unsqueeze(-2)
