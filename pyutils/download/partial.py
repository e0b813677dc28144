"""An unfinished download on disk, and its origin, for the next attempt to resume.

`NAME.part` contains the bytes, `NAME.part.json` the source, its validator and the size it announced. Both are deleted
when the file is complete, checked and renamed.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pyutils.download.transport import DownloadError, address_mark
from pyutils.formats.atomic import write_json

try:
    import fcntl
except ImportError:  # Windows: two processes there must not download the same file at once
    fcntl = None  # type: ignore[assignment]


@dataclass
class Origin:
    """Where the bytes of a partial file come from; `address` is a `transport.address_mark`."""

    address: str = ""
    validator: str = ""
    total: int | None = None


class Partial:
    """A download in progress beside `target`."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        _check_regular(self.path)
        self._notes = target.with_name(target.name + ".part.json")
        self.origin = self._read_notes()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def complete(self) -> bool:
        """True when as many bytes are on disk as the source announced."""
        return self.origin.total is not None and self.path.is_file() and self.size == self.origin.total

    def open(self) -> IO[bytes]:
        """Open the bytes for writing, at their start; the file is created if missing."""
        mode = "r+b" if self.path.is_file() else "wb"
        return open(self.path, mode, opener=_without_links)  # noqa: PTH123 - Path.open takes no opener

    def note(self, url: str, validator: str, total: int | None) -> None:
        """Write down the source before its bytes."""
        self.origin = Origin(address_mark(url), validator, total)
        write_json(self._notes, asdict(self.origin))

    def discard(self) -> None:
        """Delete the bytes and the note of their origin."""
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)
        self.origin = Origin()

    def finish(self) -> None:
        """Flush the bytes to the disk and give the file its name."""
        with self.path.open("rb") as stream:
            os.fsync(stream.fileno())
        self.path.replace(self.target)
        self._notes.unlink(missing_ok=True)

    def _read_notes(self) -> Origin:
        """The origin of the bytes; without a valid note of it they are of no use and are deleted."""
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            return Origin(str(notes["address"]), str(notes["validator"]), notes["total"])
        except (OSError, ValueError, KeyError, TypeError):
            self.path.unlink(missing_ok=True)
            return Origin()


@contextmanager
def partial_file(target: Path) -> Iterator[Partial]:
    """Yield the partial file of `target`, locked for this process: a second one waits until the first is done."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f".{target.name}.lock")):
        yield Partial(target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    while True:
        with open(path, "a", opener=_without_links) as stream:  # noqa: PTH123 - Path.open takes no opener
            fcntl.flock(stream, fcntl.LOCK_EX)
            if not _is(stream.fileno(), path):
                continue  # the holder before us deleted this file: whoever waits must hold the one that is there now
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _check_regular(path: Path) -> None:
    """Raise DownloadError for a link, which may lead anywhere, and for anything else that is not a file."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise DownloadError(f"{path} is a link or not a file, and a download writes there; delete it")


def _without_links(name: str, flags: int) -> int:
    """Open as `open` does, but refuse a link in the last component; Windows has no such flag."""
    try:
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise DownloadError(f"{name} is a link, and a download writes there; delete it") from error


def _is(handle: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False
