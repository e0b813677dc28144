"""An unfinished download on disk, and its origin, for the next attempt to resume.

`NAME.part` contains the bytes, `NAME.part.json` the source, its validator and the size it announced. Both are deleted
when the file is complete, checked and renamed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: two processes there must not download the same file at once
    fcntl = None  # type: ignore[assignment]


@dataclass
class Origin:
    """Where the bytes of a partial file come from."""

    url: str = ""
    validator: str = ""
    total: int | None = None


class Partial:
    """A download in progress beside `target`."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
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

    def note(self, url: str, validator: str, total: int | None) -> None:
        """Write down the source before its bytes."""
        self.origin = Origin(url, validator, total)
        self._notes.write_text(json.dumps(asdict(self.origin)), encoding="utf-8")

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
            return Origin(str(notes["url"]), str(notes["validator"]), notes["total"])
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
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if not _is(stream.fileno(), path):
                continue  # the holder before us deleted this file: whoever waits must hold the one that is there now
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is(handle: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False
