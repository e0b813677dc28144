"""Precision of a training step: autocast for bf16 and fp16 on a GPU, loss scaling for fp16, float32 regions.

Weights stay float32 ("O1"): only matrix products and convolutions run in half precision; Paddle keeps softmax, layer
norms, losses and norms in float32. The CPU has no autocast: everything runs in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import paddle

from pyutils.compat import gpu_capability

_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
_BF16_CAPABILITY = (8, 0)
_FIRST_SCALE = 2.0**16
_LARGEST_SCALE = 2.0**24
_STEPS_BEFORE_GROWTH = 2000


def effective_precision(precision: str) -> str:
    """Return `precision` if the current device supports it, else "fp32" with one warning.

    bf16 on a GPU without units for it is slow but works, so it only warns.
    """
    if precision == "fp32":
        return precision
    if paddle.get_device().startswith("gpu"):
        capability = gpu_capability()
        if precision == "bf16" and capability < _BF16_CAPABILITY:
            number = ".".join(map(str, capability))
            _warn_once(
                f"train.precision bf16: this GPU (compute capability {number}) has no bf16 units, as 8.0 and later do, "
                "and emulates it slowly; use --set train.precision=fp16"
            )
        return precision
    _warn_once(f"precision {precision} needs a GPU; this run uses fp32 on {paddle.get_device()}")
    return "fp32"


def autocast(precision: str) -> AbstractContextManager:
    """Return the context of a forward pass in "fp32", "bf16" or "fp16"; no effect for fp32 and on the CPU."""
    chosen = effective_precision(precision)
    if chosen == "fp32":
        return nullcontext()
    return paddle.amp.auto_cast(enable=True, level="O1", dtype=_DTYPES[chosen])


class LossScaler:
    """Dynamic loss scale for fp16; with any other precision it changes nothing.

    The loss is multiplied by `scale` before the backward pass, gradients are divided by it before the step. Gradients
    that are not finite halve the scale and skip the step; 2000 finite steps in a row double it.
    """

    def __init__(self, precision: str):
        self.enabled = effective_precision(precision) == "fp16"
        self.scale = _FIRST_SCALE if self.enabled else 1.0
        self._good_steps = 0

    def scaled(self, loss: paddle.Tensor) -> paddle.Tensor:
        """Return the scaled loss for the backward pass."""
        return loss * self.scale if self.enabled else loss

    @paddle.no_grad()
    def unscale(self, parameters: Sequence[paddle.Tensor]) -> bool:
        """Divide the gradients of `parameters` by the scale in place; return True if all are finite."""
        if not self.enabled:
            return True
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for gradient in gradients:
            gradient.scale_(1.0 / self.scale)
        return gradients_are_finite(gradients)

    def update(self, finite: bool) -> None:
        """Adapt the scale after a step (`finite`) or a skipped step."""
        if not self.enabled:
            return
        self._good_steps = self._good_steps + 1 if finite else 0
        if not finite:
            self.scale = max(1.0, self.scale / 2)
        elif self._good_steps % _STEPS_BEFORE_GROWTH == 0:
            self.scale = min(_LARGEST_SCALE, self.scale * 2)

    def state_dict(self) -> dict[str, float]:
        """Return {"scale", "good_steps"}."""
        return {"scale": self.scale, "good_steps": self._good_steps}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore a state of `state_dict`."""
        if self.enabled:
            self.scale, self._good_steps = float(state["scale"]), int(state["good_steps"])


@paddle.no_grad()
def gradients_are_finite(gradients: Sequence[paddle.Tensor]) -> bool:
    """Return True without an infinite or NaN gradient, with a single transfer from the device."""
    if not gradients:
        return True
    return bool(paddle.stack([paddle.isfinite(gradient).all() for gradient in gradients]).all())


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=4)
