"""The optimizer: trained parameters with their rates, the update step, and a state keyed by structured names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import paddle

from pyutils.errors import InputError, nearest
from pyutils.optim.clip import clip_
from pyutils.optim.rule import At, Slots, UpdateRule

if TYPE_CHECKING:
    from paddle import Tensor

_STEP = "step"
_RATE = "lr"


@dataclass
class Trained:
    """A trained parameter: structured name, tensor, factor on the learning rate, weight decay, number of updates."""

    name: str
    parameter: Tensor
    lr_factor: float = 1.0
    weight_decay: float = 0.0
    step: int = 0


class Optimizer:
    """Applies `rule` to every parameter that has a gradient; others keep value, state and step count.

    Gradients are read from `parameter.grad` and clipped in place. `paddle.amp.GradScaler` accepts an instance like an
    optimizer of Paddle.

    grad_norm: norm of all gradients before clipping at the last step (scalar tensor), None unless `clip` is `global`.
    """

    def __init__(
        self,
        rule: UpdateRule,
        trained: Iterable[Trained],
        lr: float | None,
        clip: str = "none",
        clip_norm: float = 1.0,
    ) -> None:
        self.rule = rule
        self.lr = lr
        self.clip = clip
        self.clip_norm = clip_norm
        self.grad_norm: Tensor | None = None
        self._trained = {entry.name: entry for entry in trained}
        self._slots: dict[str, Slots] = {}
        self._parameter_list = [entry.parameter for entry in self._trained.values()]  # the name GradScaler looks for

    @property
    def trained(self) -> list[Trained]:
        """The trained parameters in order, with their settings."""
        return list(self._trained.values())

    def set_lr(self, lr: float) -> None:
        """Set the base learning rate, which each parameter multiplies by its `lr_factor`."""
        self.lr = float(lr)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the scalar `loss` to `parameter.grad`."""
        loss.backward()

    def clear_grad(self) -> None:
        """Drop every gradient, so that a parameter unused in the next step is not updated."""
        for parameter in self._parameter_list:
            parameter.clear_gradient(False)  # Paddle ignores set_to_zero when it is given by keyword

    @paddle.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        active = [entry for entry in self._trained.values() if entry.parameter.grad is not None]
        if not active:
            return
        gradients = [entry.parameter.grad.astype(entry.parameter.dtype) for entry in active]
        self.grad_norm = clip_(gradients, self.clip, self.clip_norm)
        first_lr = self._rate(active[0])
        for entry, gradient in zip(active, gradients):
            self._update(entry, gradient, first_lr)

    def _rate(self, entry: Trained) -> float | None:
        return None if self.lr is None else self.lr * entry.lr_factor

    def _update(self, entry: Trained, gradient: Tensor, first_lr: float | None) -> None:
        slots = self._slots_of(entry)
        entry.step += 1
        at = At(entry.step, self._rate(entry), entry.weight_decay, first_lr)
        value, self._slots[entry.name] = self.rule.update(entry.parameter, gradient, slots, at)
        if value is not entry.parameter:
            paddle.assign(value, output=entry.parameter)

    def _slots_of(self, entry: Trained) -> Slots:
        """Return the state of one parameter, created on first use."""
        if entry.name not in self._slots:
            self._slots[entry.name] = self.rule.slots(entry.parameter.detach())
        return self._slots[entry.name]

    def state_dict(self) -> dict[str, np.ndarray | int | float]:
        """Return `<parameter>/<slot>` arrays, `<parameter>/step` counts and `lr`.

        Parameters that were never updated have no entry.
        """
        state: dict[str, np.ndarray | int | float] = {} if self.lr is None else {_RATE: self.lr}
        for name, slots in self._slots.items():
            state[f"{name}/{_STEP}"] = self._trained[name].step
            state.update({f"{name}/{slot}": tensor.numpy() for slot, tensor in slots.items()})
        return state

    def load_state_dict(self, state: Mapping[str, np.ndarray | int | float]) -> None:
        """Restore what `state_dict` returned; the next step is bit for bit that of the saved run.

        Raises:
            InputError: a parameter that is not trained here, or other slots or shapes than the rule needs.
        """
        by_name: dict[str, dict] = {}
        for key, value in state.items():
            if key != _RATE:
                name, _, slot = key.rpartition("/")
                by_name.setdefault(name, {})[slot] = value
        restored = {name: self._restored(name, slots) for name, slots in by_name.items()}
        for name, entry in self._trained.items():
            entry.step = int(by_name[name][_STEP]) if name in by_name else 0
        self._slots = restored
        if _RATE in state:
            self.lr = float(state[_RATE])

    def _restored(self, name: str, saved: Mapping[str, np.ndarray | int]) -> Slots:
        """Return the slots of one parameter from its saved arrays."""
        found = {slot: list(np.shape(value)) for slot, value in saved.items()}
        fresh: Slots = {}
        needed: object = f"no such parameter: {nearest(name, self._trained)}"
        if name in self._trained:
            fresh = self.rule.slots(self._trained[name].parameter.detach())
            needed = {_STEP: [], **{slot: list(tensor.shape) for slot, tensor in fresh.items()}}
        if found != needed:
            raise InputError(
                f"optimizer state of {name!r} has shapes {found}, {type(self.rule).__name__} needs {needed}. "
                "Resume with the model, the frozen patterns and the optimizer of the saved run."
            )
        return {slot: paddle.to_tensor(saved[slot], dtype=t.dtype, place=t.place) for slot, t in fresh.items()}
