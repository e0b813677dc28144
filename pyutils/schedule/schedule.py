"""Base classes of the schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Union

Multiplier = Callable[[int], float]
State = dict[str, Union[int, float, bool, None]]


class Schedule(ABC):
    """Learning rate of every step; without a state of its own where it is a pure function of the step."""

    @abstractmethod
    def rate(self, step: int) -> float:
        """Return the learning rate of update number `step`, counted from 0."""

    def observe(self, metric: float) -> None:  # noqa: B027 - an optional hook
        """Take the metric of a finished epoch; used by schedules that react to it."""

    def state_dict(self) -> State:
        """Return the state that a resumed run needs."""
        return {}

    def load_state_dict(self, state: Mapping[str, int | float | bool | None]) -> None:  # noqa: B027 - nothing to restore
        """Restore a state of `state_dict`."""


class Multiplied(Schedule):
    """Base rate times a multiplier of the step; `first_step` 1 counts the updates from 1."""

    def __init__(self, lr: float, multiplier: Multiplier, first_step: int = 0) -> None:
        self.lr = lr
        self.multiplier = multiplier
        self.first_step = first_step

    def rate(self, step: int) -> float:
        return self.lr * self.multiplier(step + self.first_step)
