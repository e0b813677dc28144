"""Base of the update rules: hyper-parameters and a pure function from old to new values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from paddle import Tensor

Slots = dict[str, "Tensor"]


class At(NamedTuple):
    """Settings of one update of one parameter.

    step: updates of this parameter, this one included (1, 2, …); lr: its learning rate; weight_decay: its decay;
    first_lr: learning rate of the first parameter that is updated in this step.
    """

    step: int
    lr: Any  # float; None where the rule sets its own rate
    weight_decay: float
    first_lr: Any


@dataclass(frozen=True)
class UpdateRule(ABC):
    """Base of the update rules. A subclass is a frozen dataclass of its hyper-parameters."""

    default_clip: ClassVar[str] = "none"

    def slots(self, parameter: Tensor) -> Slots:
        """State of one parameter before its first update, e.g. moments of its shape."""
        return {}

    @abstractmethod
    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        """Return the new value and state of `parameter`, whose shape and dtype `gradient` shares.

        A rule may change `parameter` and `slots` in place and return them, but never changes `gradient`.
        """
