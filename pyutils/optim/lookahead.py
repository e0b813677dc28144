"""Lookahead around any rule (arXiv 1907.08610): slow weights that follow the fast ones every k updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pyutils.optim.rule import At, Slots, UpdateRule

if TYPE_CHECKING:
    from paddle import Tensor

_SLOW = "slow"


@dataclass(frozen=True)
class Lookahead(UpdateRule):
    """Algorithm 1: every `k` updates slow += alpha (fast - slow), fast = slow. The slow weights start as the initial
    ones."""

    inner: UpdateRule
    alpha: float = 0.5
    k: int = 6
    first_sync: ClassVar[int] = 1

    @property
    def default_clip(self) -> str:  # type: ignore[override]
        return self.inner.default_clip

    def slots(self, parameter: Tensor) -> Slots:
        return {**self.inner.slots(parameter), _SLOW: parameter.clone()}

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        inner = {name: tensor for name, tensor in slots.items() if name != _SLOW}
        fast, moved = self.inner.update(parameter, gradient, inner, at)
        slow = slots[_SLOW]
        if at.step % self.k == 0:
            slow = slow + self.alpha * (fast - slow) if at.step // self.k >= self.first_sync else fast.clone()
            fast = slow
        return fast, {**moved, _SLOW: slow}


@dataclass(frozen=True)
class OriginalLookahead(Lookahead):
    """Lookahead as ALBEF's collection has it: slow weights start at the first synchronisation, which does nothing."""

    first_sync: ClassVar[int] = 2
