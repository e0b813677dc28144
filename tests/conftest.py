"""Set-up shared by all tests. Importing `pyutils` first prepares the CPU before any test imports Paddle."""

from __future__ import annotations

import pytest

import pyutils  # noqa: F401 - before Paddle


@pytest.fixture(autouse=True)
def no_inherited_devices(monkeypatch):
    """Tests see the environment of a plain single process, whatever started pytest."""
    for name in ("PADDLE_TRAINER_ID", "PADDLE_TRAINERS_NUM", "PADDLE_LOCAL_SIZE", "GPUS", "NPROC"):
        monkeypatch.delenv(name, raising=False)
