"""Lower the learning rate when a metric stops improving, and stop-and-go for tasks trained together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Optional

_SMALLEST_CHANGE = 1e-8


def improved(value: float, best: Optional[float], threshold: float, higher_is_better: bool) -> bool:
    """Return True if `value` is better than `best` by the relative `threshold`, or `best` is None."""
    if best is None:
        return True
    return value > best * (1.0 + threshold) if higher_is_better else value < best * (1.0 - threshold)


@dataclass
class Plateau:
    """Counts epochs without improvement."""

    patience: int
    higher_is_better: bool = True
    threshold: float = 1e-4
    best: Optional[float] = None
    bad_epochs: int = 0

    def observe(self, metric: float) -> bool:
        """Take the metric of an epoch; return True after more than `patience` epochs without improvement."""
        if improved(metric, self.best, self.threshold, self.higher_is_better):
            self.best, self.bad_epochs = metric, 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs <= self.patience:
            return False
        self.bad_epochs = 0
        return True


def reduced(rate: float, factor: float, floor: float) -> float:
    """Return `rate` times `factor`, at least `floor`; unchanged if the difference is below 1e-8."""
    lower = max(rate * factor, floor)
    return lower if rate - lower > _SMALLEST_CHANGE else rate


@dataclass
class StopAndGo:
    """Dynamic stop-and-go of 12-in-1 (arXiv 1912.02315, §4.1): pause a converged task until it gets worse.

    A task stops after more than `patience` scores without a relative gain of `threshold`, and resumes when its score is
    below its best by the relative `continue_threshold`. Bad scores do not count for `cooldown` scores after a change.
    """

    patience: int = 1
    threshold: float = 1e-3
    continue_threshold: float = 5e-3
    cooldown: int = 1
    higher_is_better: bool = True
    stopped: bool = False
    best: Optional[float] = None
    bad_scores: int = 0
    cooling: int = 0

    def observe(self, score: float) -> bool:
        """Take a validation score; return True if the task is stopped."""
        if improved(score, self.best, self.threshold, self.higher_is_better):
            self.best, self.bad_scores = score, 0
        else:
            self.bad_scores += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.bad_scores = 0
        if self.bad_scores > self.patience:
            self._change(stopped=True)
        elif self.stopped and improved(score, self.best, self.continue_threshold, not self.higher_is_better):
            self._change(stopped=False)
        return self.stopped

    def _change(self, stopped: bool) -> None:
        self.stopped, self.cooling, self.bad_scores = stopped, self.cooldown, 0

    def state_dict(self) -> dict[str, float | int | bool | None]:
        """Return settings and counters as plain numbers."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, float | int | bool | None]) -> None:
        """Restore a state of `state_dict`."""
        for item in fields(self):
            setattr(self, item.name, state[item.name])
