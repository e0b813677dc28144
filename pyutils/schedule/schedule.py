"""The learning rate of every step: what the trainer asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Union

from pyutils.errors import InputError

Multiplier = Callable[[int], float]
State = dict[str, Union[int, float, bool, None]]


class Schedule:
    """Base: the rate is a pure function of the step, so there is nothing to save."""

    def rate(self, step: int) -> float:
        """Learning rate of update number `step`, counted from 0."""
        raise NotImplementedError

    def observe(self, metric: float) -> None:
        """Take the metric of an epoch that ended. Only schedules that wait for a plateau listen."""

    def state_dict(self) -> State:
        """What a resumed run needs."""
        return {}

    def load_state_dict(self, state: Mapping[str, int | float | bool | None]) -> None:
        """Restore what `state_dict` returned."""
        if set(state) != set(self.state_dict()):
            raise InputError(
                f"schedule state holds {sorted(state)}, {type(self).__name__} needs {sorted(self.state_dict())}. "
                "Resume with the schedule of the saved run."
            )


class Multiplied(Schedule):
    """Base rate times a multiplier of the step; `first_step` 1 counts the updates from 1."""

    def __init__(self, lr: float, multiplier: Multiplier, first_step: int = 0) -> None:
        self.lr = lr
        self.multiplier = multiplier
        self.first_step = first_step

    def rate(self, step: int) -> float:
        return self.lr * self.multiplier(step + self.first_step)
