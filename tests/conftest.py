"""Set-up shared by all tests. Importing `pyutils` first prepares the CPU before any test imports Paddle."""

from __future__ import annotations

import signal
import threading

import pytest

import pyutils  # noqa: F401 - before Paddle
from tests.support import golden_names

# A shell that starts the tests in the background makes them ignore Ctrl-C, and every process they start as well; the
# tests of Ctrl-C need the usual handler.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Mark every test that reads a golden case, so that `-m golden` judges the folder `$GOLDEN`."""
    for item in items:
        if item.location[2].partition("[")[0].partition(".")[0] in golden_names(item.path):
            item.add_marker("golden")


@pytest.fixture(autouse=True)
def no_inherited_devices(monkeypatch):
    """Tests see the environment of a plain single process, whatever started pytest."""
    for name in ("PADDLE_TRAINER_ID", "PADDLE_TRAINERS_NUM", "PADDLE_LOCAL_SIZE", "GPUS", "NPROC"):
        monkeypatch.delenv(name, raising=False)
