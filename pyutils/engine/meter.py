"""Throughput of a run, and the time it waits for data."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Meter:
    """Time of the steps since the last report, without that spent in `paused` (evaluation, checkpoints)."""

    def __init__(self) -> None:
        self._restart()

    def timed(self, batches: Iterable[T]) -> Generator[T, None, None]:
        """Yield `batches` and measure the time spent waiting for them."""
        source = iter(batches)
        while True:
            began = time.monotonic()
            try:
                batch = next(source)
            except StopIteration:
                return
            self._waited += time.monotonic() - began
            yield batch

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time spent inside."""
        began = time.monotonic()
        yield
        self._began += time.monotonic() - began

    def add_step(self) -> None:
        """Count one optimizer step."""
        self._steps += 1

    def report(self, samples_a_step: int) -> dict[str, float]:
        """Return {"samples_per_second", "data_share"} since the last report; `samples_a_step` over all processes."""
        seconds = max(1e-9, time.monotonic() - self._began)
        speed = {"samples_per_second": self._steps * samples_a_step / seconds, "data_share": self._waited / seconds}
        self._restart()
        return speed

    def _restart(self) -> None:
        self._began, self._waited, self._steps = time.monotonic(), 0.0, 0
