"""The optimizer: who is trained at which rate, one step of the rule, and a state that names parameters by structure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import paddle

from pyutils.errors import InputError, nearest
from pyutils.optim.clip import clip_
from pyutils.optim.rule import At, Rule, Slots

if TYPE_CHECKING:
    from paddle import Tensor

_STEP = "step"
_RATE = "lr"


@dataclass
class Trained:
    """One trained parameter: structured name, tensor, factor on the rate, weight decay, updates so far."""

    name: str
    parameter: Tensor
    lr_factor: float = 1.0
    weight_decay: float = 0.0
    step: int = 0


class Optimizer:
    """Applies `rule` to every parameter that has a gradient; one without neither moves nor decays nor ages.

    Gradients are read from `parameter.grad` and, where they are clipped, scaled there. `paddle.amp.GradScaler` takes an
    instance as it takes Paddle's own: it unscales the gradients and leaves the step out when one is not finite.

    grad_norm: norm of all gradients before clipping at the last step (scalar tensor), None unless `clip` is `global`.
    """

    def __init__(
        self,
        rule: Rule,
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
        """The trained parameters in order, with their groups' settings."""
        return list(self._trained.values())

    def set_lr(self, lr: float) -> None:
        """Base rate of the following steps; `lr_factor` of a parameter comes on top."""
        self.lr = float(lr)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the scalar `loss`, added to `parameter.grad`. Rules that need more than those override this."""
        loss.backward()

    def clear_grad(self) -> None:
        """Drop every gradient, so that a parameter unused in the next step is left alone."""
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
        """State of one parameter, made when it is first asked for."""
        if entry.name not in self._slots:
            self._slots[entry.name] = self.rule.slots(entry.parameter.detach())
        return self._slots[entry.name]

    def state_dict(self) -> dict[str, np.ndarray | int | float]:
        """Everything a resumed run needs: `<parameter>/<slot>` arrays, `<parameter>/step` counts, `lr`.

        Parameters that were never updated have no entry.
        """
        state: dict[str, np.ndarray | int | float] = {} if self.lr is None else {_RATE: self.lr}
        for name, slots in self._slots.items():
            state[f"{name}/{_STEP}"] = self._trained[name].step
            state.update({f"{name}/{slot}": tensor.numpy() for slot, tensor in slots.items()})
        return state

    def load_state_dict(self, state: Mapping[str, np.ndarray | int | float]) -> None:
        """Restore what `state_dict` returned; the next step is bit for bit that of the saved run.

        Raises InputError on a parameter or slot that is not trained here, one that is missing, or another shape.
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
        """Slots of one parameter from its saved arrays."""
        if name not in self._trained:
            raise InputError(
                f"optimizer state holds {name!r}, which is not trained here: {nearest(name, self._trained)}. "
                "Resume with the model and the frozen patterns of the saved run."
            )
        parameter = self._trained[name].parameter
        fresh = self.rule.slots(parameter.detach())
        expected = {*fresh, _STEP}
        if set(saved) != expected:
            raise InputError(
                f"optimizer state of {name!r} holds {sorted(saved)}, {type(self.rule).__name__} needs "
                f"{sorted(expected)}. Resume with the optimizer of the saved run."
            )
        return {slot: _tensor_like(f"{name}/{slot}", np.asarray(saved[slot]), tensor) for slot, tensor in fresh.items()}


def _tensor_like(key: str, array: np.ndarray, tensor: Tensor) -> Tensor:
    """`array` as a tensor of the dtype and on the device of `tensor`."""
    if list(array.shape) != list(tensor.shape):
        raise InputError(
            f"optimizer state {key!r} has shape {list(array.shape)}, the model needs {list(tensor.shape)}. "
            "Resume with the model of the saved run."
        )
    return paddle.to_tensor(array, dtype=tensor.dtype, place=tensor.place)
