"""Join archives that come in pieces; unpack archives without writing outside the target directory."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pyutils.download.partial import partial_file
from pyutils.download.tar_stream import DAMAGE, tar_entries
from pyutils.download.transport import DownloadError, SourceFailed
from pyutils.download.verify import Expected, check_opens
from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike

_COPY = 1 << 22


def join_pieces(
    pieces: Sequence[PathLike],
    destination: PathLike,
    size: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
) -> Path:
    """Concatenate `pieces` in the order given to `destination`; return its path.

    The result is checked against `size` and checksums, and opened, before it gets its name; the pieces are kept.

    Raises:
        DownloadError: the result is not as expected, or the disk is full.
    """
    ordered, target = [Path(piece) for piece in pieces], Path(destination)
    needed, free = sum(piece.stat().st_size for piece in ordered), shutil.disk_usage(ordered[0].parent).free
    if needed > free:
        raise DownloadError(
            f"{target}: joining needs {needed} bytes, {free} are free in {ordered[0].parent}; make room"
        )
    with partial_file(target) as joined:
        with joined.path.open("wb") as stream:
            for piece in ordered:
                with piece.open("rb") as content:
                    shutil.copyfileobj(content, stream, _COPY)
        try:
            problem = Expected(size, sha256, md5).mismatch(joined.path)
            if not problem:
                check_opens(joined.path, target.name)
                joined.finish()
        except SourceFailed as error:
            problem = str(error)
        finally:
            joined.discard()
    if problem:
        raise DownloadError(f"{target}, joined from its pieces: {problem}; download the pieces again")
    return target


def is_archive(name: str) -> bool:
    """True for a file name that `unpack` supports."""
    return name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"))


def unpack(archive: PathLike, folder: PathLike) -> list[Path]:
    """Unpack a zip or tar into `folder`; return the files written.

    Each file is written atomically, over an existing one too, which may be damaged. Links and devices are skipped.

    Raises:
        InputError: an entry points outside `folder`, a tar is damaged or the disk has no room for the files (nothing
            has been written then), or a zip is damaged.
    """
    archive, folder = Path(archive), Path(folder)
    entries = _zip_entries if archive.name.lower().endswith(".zip") else _tar_entries
    with _naming_damage(archive):
        needed = 0
        for name, size, _ in entries(archive, True):
            _inside(folder, name, archive)
            needed += size
        _check_room(archive, folder, needed)
        return [_write(_inside(folder, name, archive), stream) for name, _, stream in entries(archive, False)]


@contextmanager
def _naming_damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (*DAMAGE, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk, no permission
        raise InputError(f"{archive}: damaged ({error}); delete it and download it again") from error
    except RuntimeError as error:  # encrypted, or a method that this Python was built without
        raise InputError(f"{archive}: cannot be unpacked here ({error}); unpack it with another program") from error


def _check_room(archive: Path, folder: Path, needed: int) -> None:
    """Raise InputError before a file of a few kilobytes fills the disk with zeros."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise InputError(f"{archive}: its files take {needed} bytes, {free} are free in {there}; make room")


def _inside(folder: Path, name: str, archive: Path) -> Path:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or re.match(r"^[A-Za-z]:", name):
        raise InputError(f"{archive}: the entry {name!r} points outside the folder; do not use this archive")
    return folder.joinpath(*parts.parts)


def _write(path: Path, stream: IO[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.partial")
    unfinished.unlink(missing_ok=True)
    try:
        with unfinished.open("xb") as target:  # never through a link that somebody put there
            shutil.copyfileobj(stream, target, _COPY)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _zip_entries(path: Path, names_only: bool = False) -> Iterator[tuple[str, int, Any]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
            if entry.is_dir() or is_link:
                continue
            if names_only:
                yield entry.filename, entry.file_size, None
                continue
            with archive.open(entry) as stream:
                yield entry.filename, entry.file_size, stream


def _tar_entries(path: Path, _names_only: bool = False) -> Iterator[tuple[str, int, Any]]:
    for entry, stream in tar_entries(path):
        if stream is not None:
            yield entry.name, entry.size, stream
