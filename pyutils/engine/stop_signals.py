"""Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 during training: finish the step, save, exit with the usual status."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pyutils.runtime import STOP_SIGNALS


class Stopped(BaseException):
    """Raised inside `StopSignals.at_once` by a signal. Not an Exception, so that only the trainer catches it."""


class StopSignals:
    """Context that records `STOP_SIGNALS` instead of ending the program; one that is ignored (nohup) stays ignored.

    The trainer checks `received` between steps. A second Ctrl-C interrupts as usual; further signals have no effect,
    because launchers send several while a checkpoint is written. No effect outside the main thread, which alone may
    handle signals.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._at_once = False
        self._previous: dict[int, Any] = {}

    @property
    def exit_status(self) -> int:
        """128 + the signal's number: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, 138 after SIGUSR1."""
        return 128 + int(self.received or signal.SIGTERM)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal raise `Stopped` immediately, for long work that changes no state."""
        if self.received is not None:
            raise Stopped(self.received)
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
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
