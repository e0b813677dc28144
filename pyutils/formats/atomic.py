"""Write files and folders atomically."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Union

from pyutils.errors import InputError

PathLike = Union[str, "os.PathLike[str]"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_MOST_NAMED = 5


@contextmanager
def atomic_write(path: PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on exit, flush it to the disk and rename it to `path`.

    `mode` is "w" (UTF-8 text, line ends kept) or "wb". Missing parent folders are created. When the body raises, or the
    disk is full, the temporary file is deleted, a previous `path` is intact, and the error propagates; an OSError
    without a file name gets `path` as its name.
    """
    target = Path(path)
    text: dict[str, Any] = {"encoding": "utf-8", "newline": ""} if mode == "w" else {}
    with _naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, mode, **text) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(_usual_mode(0o666))
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


def clear_partial_files(path: PathLike) -> None:
    """Delete what killed processes left of writing `path` by `atomic_write`; for its only writer."""
    target = Path(path)
    for file in target.parent.iterdir():
        if file.name.startswith(f".{target.name}.") and file.name.endswith(".partial"):
            file.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: PathLike) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on exit, flush its files and replace `path` by it.

    One process at a time may write a given `path`. When the body raises, or the disk is full, the new folder is deleted
    and a previous `path` is intact. Leftovers of a killed process are deleted at the next call. A symbolic link to a
    folder stays a link. InputError when `path` is a file, or has no name (`.`).
    """
    target = Path(path)
    if target.is_symlink():
        target = target.resolve()
    _check_name(target)
    with _naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        recover_folder(target)
        _clear_leftovers(target)
        building = target.with_name(f".{target.name}.partial-{_process_mark()}")
        building.mkdir()
        try:
            yield building
            _sync_tree(building)
            _swap_in(building, target)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        _sync_folder(target.parent)


def check_replaceable(folder: PathLike, marks: Collection[str], known: Collection[str], what: str) -> None:
    """Raise InputError unless `folder` can be replaced without losing files of the user.

    It can where it does not exist, is empty, or was written by the same program: it contains one of the files `marks`
    and nothing but those and the files `known`.

    Args:
        what: name of what is written, for the message ("an exported model").
    """
    folder = Path(folder)
    _check_name(folder)
    found = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []
    strange = [name for name in found if name not in marks and name not in known]
    if found and not strange and not any(name in marks for name in found):
        strange = found
    if strange:
        shown = ", ".join(strange[:_MOST_NAMED]) + (", …" if len(strange) > _MOST_NAMED else "")
        raise InputError(
            f"{folder}: the folder contains {shown}, which would be lost: {what} replaces the whole folder. Name "
            "a new or empty folder, or move those files"
        )


def recover_folder(path: PathLike) -> None:
    """Restore a folder whose writer was killed during a swap.

    Only file systems that cannot exchange two names atomically need it; readers of folders made by `atomic_folder` call
    it first.
    """
    target = Path(path)
    if not target.exists() and _previous_name(target).is_dir():
        _previous_name(target).rename(target)


def write_json(path: PathLike, value: Any, indent: int | None = 2) -> None:
    """Write `value` as UTF-8 JSON, atomically. NaN and infinity, which JSON lacks, raise ValueError."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as stream:
        stream.write(text + "\n")


def _check_name(target: Path) -> None:
    if target.name in ("", "..") or (target.exists() and not target.is_dir()):
        kind = "is a file" if target.is_file() else "has no name of its own"
        raise InputError(f"{target}: {kind}; expected a folder to write, which is replaced")


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Add the path being written to an OSError that names no file (a full disk inside `write`)."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(target)
        raise


def _usual_mode(bits: int) -> int:
    """`bits` less the process's umask: mkstemp makes files that only their owner can read."""
    mask = os.umask(0)
    os.umask(mask)
    return bits & ~mask


def _process_mark() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def _previous_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _clear_leftovers(target: Path) -> None:
    """Delete partial folders whose process on this machine is gone, and a finished swap's old folder."""
    for partial in target.parent.glob(f".{target.name}.partial-{socket.gethostname()}-*"):
        process = partial.name.rpartition("-")[2]
        if process.isdigit() and (int(process) == os.getpid() or not _is_running(int(process))):
            shutil.rmtree(partial, ignore_errors=True)
    if target.exists():
        shutil.rmtree(_previous_name(target), ignore_errors=True)


def _is_running(process: int) -> bool:
    with suppress(PermissionError):  # another user's process
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with (Path(parent) / name).open("rb") as stream:
                os.fsync(stream.fileno())
        _sync_folder(Path(parent))


def _sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable; some file systems refuse to sync a folder, and lose nothing else by it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _swap_in(building: Path, target: Path) -> None:
    """Rename `building` to `target`; a previous folder is deleted after the swap, not before."""
    _check_name(target)  # a file may have appeared there since
    if not target.exists():
        building.rename(target)
        return
    if _exchange(building, target):
        shutil.rmtree(building)
        return
    previous = _previous_name(target)
    target.rename(previous)
    building.rename(target)
    shutil.rmtree(previous)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names atomically; return False where the kernel or the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    return rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0
