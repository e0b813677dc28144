"""Data sets on disk: which parts are complete, and downloading the others."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyutils.download.archives import is_archive, join_pieces, unpack
from pyutils.download.catalogue import DataSet, Part
from pyutils.download.sources import probe
from pyutils.download.transfer import fetch
from pyutils.download.transport import DownloadError, Probe
from pyutils.download.verify import file_sum
from pyutils.formats.atomic import atomic_write, write_json

_SUM = re.compile(r"([0-9a-f]{64}) ")


@dataclass(frozen=True)
class Store:
    """Data sets under `root`.

    mirrors: URLs or directories with `<folder of the set>/<file>`, tried before the sources of the table.
    keep_archives: do not delete an archive after unpacking it.
    """

    root: Path
    mirrors: tuple[str, ...] = ()
    accept_mismatch: bool = False
    keep_archives: bool = False

    def file(self, data_set: DataSet, part: Part) -> Path:
        """Return the destination of the part's file."""
        return self.root / data_set.folder / part.file

    def is_complete(self, data_set: DataSet, part: Part) -> bool:
        """True when the part is complete: its file, or every file that was unpacked from it."""
        if not self._is_unpacked(part):
            return self.file(data_set, part).is_file()
        try:
            notes = json.loads(self._notes(data_set, part).read_text(encoding="utf-8"))
            folder = self.root / data_set.folder / (part.unpack_to or ".")
            return all((folder / name).is_file() for name in notes["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def download(self, data_set: DataSet, part: Part) -> bool:
        """Download, check and unpack the part; return False when it was already complete.

        Raises:
            DownloadError: no source provided it; the message says how to get it by hand.
        """
        if self.is_complete(data_set, part):
            return False
        file = self.file(data_set, part)
        if not file.is_file() and not part.sources and not part.pieces and not self.mirrors:
            raise DownloadError(f"{data_set.name}:{part.name} cannot be downloaded: {part.by_hand}; put it at {file}")
        try:
            self._download_file(data_set, part, file)
        except DownloadError as error:
            hint = f"\nby hand: {part.by_hand}" if part.by_hand else ""
            raise DownloadError(f"{data_set.name}:{part.name}: {error}{hint}") from error
        if self._is_unpacked(part):
            self._unpack(data_set, part, file)
        return True

    def addresses(self, data_set: DataSet, part: Part) -> list[list[str]]:
        """Return the URLs of each file of the part, mirrors first: one list, or one per piece."""
        own = [[piece] for piece in part.pieces] or [list(part.sources)]
        names = [_piece_name(piece) for piece in part.pieces] or [part.file]
        return [
            [f"{mirror.rstrip('/')}/{data_set.folder}/{name}" for mirror in self.mirrors] + sources
            for name, sources in zip(names, own)
        ]

    def probe(self, data_set: DataSet, part: Part) -> list[Probe]:
        """Ask every source of the part for size and reachability."""
        return [probe(url) for urls in self.addresses(data_set, part) for url in urls]

    def _download_file(self, data_set: DataSet, part: Part, file: Path) -> None:
        recorded = None if part.sha256 or part.md5 or self.accept_mismatch else _recorded_sum(file)
        facts: dict[str, Any] = {"size": part.size, "sha256": part.sha256 or recorded, "md5": part.md5}
        addresses = self.addresses(data_set, part)
        if not part.pieces:
            fetch(addresses[0], file, **facts, accept_mismatch=self.accept_mismatch)
        elif not file.is_file():
            self._download_pieces(part, file, addresses, facts)
        if facts["sha256"] is None and not part.md5:
            _record_sum(file)

    def _download_pieces(self, part: Part, file: Path, addresses: list[list[str]], facts: dict[str, Any]) -> None:
        folder = file.parent
        pieces = [
            fetch(urls, folder / _piece_name(piece), check=False, accept_mismatch=self.accept_mismatch)
            for urls, piece in zip(addresses, part.pieces)
        ]
        join_pieces(pieces, file, **facts)
        for path in pieces:
            path.unlink(missing_ok=True)

    def _is_unpacked(self, part: Part) -> bool:
        return part.unpack_to is not None and is_archive(part.file)

    def _unpack(self, data_set: DataSet, part: Part, file: Path) -> None:
        folder = self.root / data_set.folder / (part.unpack_to or ".")
        written = unpack(file, folder)
        write_json(self._notes(data_set, part), {"files": [path.relative_to(folder).as_posix() for path in written]})
        if not self.keep_archives:
            file.unlink()

    def _notes(self, data_set: DataSet, part: Part) -> Path:
        """List of the unpacked files: written last, so that an interrupted run is recognised."""
        return self.root / data_set.folder / f".{data_set.name}-{part.name}.unpacked.json"


def _piece_name(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2]


def _sum_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _recorded_sum(file: Path) -> str | None:
    """The checksum that `_record_sum` wrote beside the file; None without a valid one."""
    try:
        found = _SUM.match(_sum_file(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found[1] if found else None


def _record_sum(file: Path) -> None:
    """Write the checksum of a file for which the table has none, in the form of `sha256sum`, and say so."""
    if _sum_file(file).is_symlink() or not file.is_file():
        return
    digest = file_sum(file, "sha256")
    with atomic_write(_sum_file(file)) as stream:
        stream.write(f"{digest}  {file.name}\n")
    warnings.warn(
        f"{file}: no checksum of it is known; this download's is written to {_sum_file(file).name}, and later "
        "downloads are compared with it",
        stacklevel=4,
    )
