"""Read-only LMDB environments, each opened once a process.

LMDB refuses to open one path twice in a process and must not carry an open environment over a fork. Environments are
therefore kept in one table, opened when first used, and closed right before a fork: parent and child each open their
own again when they next read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyutils.errors import InputError

_LOCK = threading.RLock()
_OPEN: dict[Path, tuple[tuple[int, int, int], Any]] = {}


def _close_all() -> None:
    """Close every environment; they open again on demand."""
    for _, environment in _OPEN.values():
        environment.close()
    _OPEN.clear()


def _before_fork() -> None:
    """Wait for readers in other threads, then close."""
    _LOCK.acquire()
    _close_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


def data_file(path: Path) -> Path:
    """The file that holds an LMDB: `path/data.mdb`, or `path` itself."""
    return path / "data.mdb" if path.is_dir() else path


@contextmanager
def transaction(path: Path) -> Iterator[Any]:
    """A read transaction whose values are views of the file, valid inside the `with` block only.

    One thread of a process reads at a time. Raises InputError when there is no LMDB at `path` or it is truncated.
    """
    with _LOCK, _environment(path).begin(buffers=True) as reading:
        yield reading


def close(path: Path) -> None:
    """Close the environment of `path` in this process."""
    with _LOCK:
        _, environment = _OPEN.pop(path.resolve(), (None, None))
        if environment is not None:
            environment.close()


def _environment(path: Path) -> Any:
    """The open environment of `path`; a file that was replaced since is opened again."""
    real = path.resolve()
    file = data_file(real)
    try:
        status = file.stat()
    except FileNotFoundError:
        raise InputError(f"{path} is no LMDB: {file.name} is not there") from None
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
    if real in _OPEN and _OPEN[real][0] == stamp:
        return _OPEN[real][1]
    close(real)
    environment = _open(real, file.stat().st_size)
    _OPEN[real] = stamp, environment
    return environment


def _open(path: Path, size: int) -> Any:
    """Open and check the length: reading past the end of a truncated file would kill the process."""
    try:
        import lmdb
    except ImportError:
        raise InputError(f"{path} is an LMDB: install the 'lmdb' package to read it") from None
    try:
        environment = lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, max_dbs=0)
    except lmdb.Error as error:
        raise InputError(f"{path} cannot be opened as an LMDB ({error}): copy or download it again") from error
    expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if size < expected:
        environment.close()
        raise InputError(f"{path} is truncated: {size} bytes, expected at least {expected}; copy or download it again")
    return environment
