"""Check a downloaded file: size and checksums where they are known, and that it opens."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from numpy.lib import format as npy_format

from pyutils.download.tar_stream import DAMAGE, tar_entries
from pyutils.download.transport import SourceFailed

_CHUNK = 1 << 22
_PAGE_STARTS = (b"<!doctype html", b"<html", b"<?xml version")


def file_sum(path: Path, name: str) -> str:
    """Return the hexadecimal checksum `name` (sha256, md5) of a file."""
    digest = hashlib.new(name, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class Expected:
    """Known size and checksums of a file; None where unknown."""

    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def mismatch(self, path: Path) -> str:
        """Return "" when `path` is as expected, else the difference with both values."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"expected {self.size} bytes, found {size}"
        for name, wanted in (("sha256", self.sha256), ("md5", self.md5)):
            if wanted:
                found = file_sum(path, name)
                return "" if found == wanted.lower() else f"expected {name} {wanted.lower()}, found {found}"
        return ""


def check_opens(path: Path, name: str) -> None:
    """Open `path` as the format that `name` ends in: zip, tar (also compressed), gz, json, json lines, npy, npz.

    A zip, a gz and a compressed tar are read to the end and against their own checksums, a plain tar to the end, of an
    npy the header and the size. Files of other formats are only checked for being a web page, which dead links send
    with status 200.

    Raises:
        SourceFailed: the file is damaged, or a web page.
    """
    with path.open("rb") as stream:
        start = stream.read(64).lstrip().lower()
    page = start.startswith(_PAGE_STARTS) and not name.lower().endswith((".html", ".htm", ".xml"))
    if page:
        raise SourceFailed("a web page, not the file: the link is dead or requires a log-in")
    for endings, check in _CHECKS:
        if name.lower().endswith(endings):
            try:
                check(path)
            except (*DAMAGE, zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: an encrypted zip, deep JSON
                kind = endings[0].lstrip(".")
                raise SourceFailed(f"the file does not open as {kind} ({error}); first bytes {start[:16]!r}") from error
            return


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"the entry {broken} is damaged")


def _tar(path: Path) -> None:
    if not sum(1 for _ in tar_entries(path)):
        raise ValueError("no entries")


def _gzip(path: Path) -> None:
    with gzip.open(path) as stream:
        while stream.read(_CHUNK):
            pass


def _json(path: Path) -> None:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # NLVR2 writes one object a line into files named .json
        _json_lines(path)


def _json_lines(path: Path) -> None:
    with path.open(encoding="utf-8") as stream:
        if not [json.loads(line) for line in stream if line.strip()]:
            raise ValueError("no entries")


def _npy(path: Path) -> None:
    with path.open("rb") as stream:
        version = npy_format.read_magic(stream)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, _, dtype = read(stream)
        here = path.stat().st_size - stream.tell()
    count = math.prod(shape)
    if not dtype.hasobject and here != count * dtype.itemsize:
        raise ValueError(f"{here} bytes of data for {count} values of {dtype}")


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Path], None]], ...] = (
    ((".zip", ".npz"), _zip),
    ((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"), _tar),
    ((".gz",), _gzip),
    ((".json",), _json),
    ((".jsonl", ".jsonlines"), _json_lines),
    ((".npy",), _npy),
)
