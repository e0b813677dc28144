"""Ctrl-C and SIGTERM while training: finish the step, save, leave with the usual exit status."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Raised inside `StopSignals.at_once` by a signal. Not an Exception: nothing but the trainer catches it."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopSignals:
    """Context in which SIGINT and SIGTERM are remembered instead of ending the program.

    The trainer looks at `received` between steps. A second Ctrl-C does what it always did, so that an impatient user
    still gets out; further SIGTERMs change nothing, because launchers send several while a checkpoint is written.
    Outside the main thread, which alone may handle signals, the context does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._at_once = False
        self._previous: dict[int, Any] = {}

    @property
    def exit_status(self) -> int:
        """128 + the signal's number: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + int(self.received or signal.SIGTERM)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal raises `Stopped` immediately: for long work that leaves nothing half done."""
        if self.received is not None:
            raise Stopped(self.received)
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_details: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.received = self.received or number
        if number == signal.SIGINT:
            signal.signal(number, self._previous[number])
        if self._at_once:
            raise Stopped(number)
