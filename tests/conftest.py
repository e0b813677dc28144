"""Set-up shared by all tests. Importing `pyutils` first prepares the CPU before any test imports Paddle."""

from __future__ import annotations

import signal
import threading

import pytest

import pyutils  # noqa: F401 - before Paddle

# A shell that starts the tests in the background makes them ignore Ctrl-C, and every process they start as well; the
# tests of Ctrl-C need the usual handler.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_inherited_devices(monkeypatch):
    """Tests see the environment of a plain single process, whatever started pytest."""
    for name in ("PADDLE_TRAINER_ID", "PADDLE_TRAINERS_NUM", "PADDLE_LOCAL_SIZE", "GPUS", "NPROC"):
        monkeypatch.delenv(name, raising=False)
