"""The memory settings: applied by default, never against the user's own."""

from __future__ import annotations

import sys

import pytest

from pyutils import runtime


def test_glibc_takes_the_settings():
    if not sys.platform.startswith("linux"):
        pytest.skip("glibc's settings")
    assert runtime.keep_freed_memory()


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_users_own_settings_win(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert not runtime.keep_freed_memory()
