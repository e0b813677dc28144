"""Arithmetic of a training step: autocast for bf16 and fp16 on a GPU, loss scaling for fp16, fp32 islands.

Weights stay float32 ("O1"): only matrix products and convolutions run in the short format, and Paddle keeps softmax,
layer norms, losses and norms in float32. On the CPU there is no autocast: everything runs in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import paddle

_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
_FIRST_SCALE = 2.0**16
_LARGEST_SCALE = 2.0**24
_STEPS_BEFORE_GROWTH = 2000


def effective_precision(precision: str) -> str:
    """`precision` where the current device can run it, else "fp32", with one warning."""
    if precision == "fp32" or paddle.get_device().startswith("gpu"):
        return precision
    _warn_once(f"precision {precision} needs a GPU; this run uses fp32 on {paddle.get_device()}")
    return "fp32"


def autocast(precision: str) -> AbstractContextManager:
    """The context of a forward pass in "fp32", "bf16" or "fp16"; does nothing for fp32 and on the CPU."""
    chosen = effective_precision(precision)
    if chosen == "fp32":
        return nullcontext()
    return paddle.amp.auto_cast(enable=True, level="O1", dtype=_DTYPES[chosen])


def fp32_island() -> AbstractContextManager:
    """A context inside `autocast` whose operators run in float32 (similarities, temperatures, negative sampling).

    Cast inputs that may have come out in a short format: `with fp32_island(): x = x.astype("float32") …`.
    """
    return paddle.amp.auto_cast(enable=False)


class LossScaler:
    """Dynamic loss scale for fp16; with any other precision it changes nothing.

    A loss is multiplied by `scale` before the backward pass, gradients are divided by it before the step. Gradients
    that are not finite halve the scale and skip the step; 2000 good steps in a row double it.
    """

    def __init__(self, precision: str):
        self.enabled = effective_precision(precision) == "fp16"
        self.scale = _FIRST_SCALE if self.enabled else 1.0
        self._good_steps = 0

    def scaled(self, loss: paddle.Tensor) -> paddle.Tensor:
        """The loss to start the backward pass from."""
        return loss * self.scale if self.enabled else loss

    @paddle.no_grad()
    def unscale(self, parameters: Sequence[paddle.Tensor]) -> bool:
        """Divide the gradients of `parameters` by the scale, in place; whether all of them are finite."""
        if not self.enabled:
            return True
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for gradient in gradients:
            gradient.scale_(1.0 / self.scale)
        return gradients_are_finite(gradients)

    def update(self, finite: bool) -> None:
        """Adapt the scale after a step (`finite`) or a skipped one."""
        if not self.enabled:
            return
        self._good_steps = self._good_steps + 1 if finite else 0
        if not finite:
            self.scale = max(1.0, self.scale / 2)
        elif self._good_steps % _STEPS_BEFORE_GROWTH == 0:
            self.scale = min(_LARGEST_SCALE, self.scale * 2)

    def state_dict(self) -> dict[str, float]:
        """{"scale", "good_steps"}."""
        return {"scale": self.scale, "good_steps": self._good_steps}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take back what `state_dict` gave."""
        if self.enabled:
            self.scale, self._good_steps = float(state["scale"]), int(state["good_steps"])


@paddle.no_grad()
def gradients_are_finite(gradients: Sequence[paddle.Tensor]) -> bool:
    """Whether no gradient holds an infinity or NaN: one transfer from the device for all of them."""
    if not gradients:
        return True
    return bool(paddle.stack([paddle.isfinite(gradient).all() for gradient in gradients]).all())


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=4)
