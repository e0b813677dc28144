"""Read a tar from start to end and notice every kind of damage that its format can show.

`tarfile` alone stops at the first header that it does not understand, and at the end mark: it takes a cut or damaged
archive for a short one, and never compares the checksum that gzip writes at the very end.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

DAMAGE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)
_CHUNK = 1 << 20


def tar_entries(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Yield (entry, content; None for what is not a file) of a tar, plain or compressed, and read it to its last byte.

    Raises: one of `DAMAGE`, at the latest after the last entry.
    """
    with _decompressed(path) as stream:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictEntry) as archive:
            for entry in archive:
                yield entry, archive.extractfile(entry) if entry.isfile() else None
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header it has seen
        while stream.read(_CHUNK):  # a compressed stream's checksum comes last
            pass


class _StrictEntry(tarfile.TarInfo):
    """A header that must be right: `tarfile` takes a wrong or missing one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
        """Parse one header block; tarfile.ReadError for a wrong one and where the end mark is missing."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):  # the end mark
                raise
            raise tarfile.ReadError(f"a header is damaged or missing: {error}") from error


@contextmanager
def _decompressed(path: Path) -> Iterator[Any]:
    with path.open("rb") as raw:
        start = raw.read(6)
        raw.seek(0)
        if start.startswith(b"\x1f\x8b"):
            opened: Any = gzip.GzipFile(fileobj=raw)
        elif start.startswith(b"BZh"):
            opened = bz2.BZ2File(raw)
        elif start.startswith(b"\xfd7zXZ"):
            opened = lzma.LZMAFile(raw)  # noqa: SIM115 - it owns nothing that must be closed
        else:
            opened = raw
        yield opened
