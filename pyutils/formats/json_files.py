"""Read JSON and JSON lines, with errors that name the file, the position and the expected value."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pyutils.errors import InputError

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def read_json(path: Path, most_bytes: int | None = None) -> Any:
    """Return the content of a JSON file.

    InputError when it is missing, not a regular file, larger than `most_bytes`, not UTF-8 or not JSON (with its line).
    """
    with _naming(str(path)), _opened(path) as stream:
        if most_bytes is not None and os.fstat(stream.fileno()).st_size > most_bytes:
            raise InputError(f"{path}: larger than {most_bytes:,} bytes, which no such file is; is it another file?")
        return json.load(stream)


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (origin, object) for each line that is not empty; `origin` is "FILE: line N". InputError as `read_json`."""
    with _naming(str(path)), _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                origin = f"{path}: line {number}"
                with _naming(origin):
                    value = json.loads(line)
                check_fields(value, (), origin)
                yield origin, value


def _opened(path: Path) -> IO[str]:
    """Open a text file; InputError for a pipe or device, which may never answer or never end."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a regular file; name a file")
    return path.open(encoding="utf-8")


@contextmanager
def _naming(origin: str) -> Iterator[None]:
    """Turn the errors of reading JSON into an InputError that begins with `origin`."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        problem = f"not readable JSON: {error}"  # a number with more digits than Python converts
        if isinstance(error, OSError):
            problem = f"cannot be read: {error.strerror}"
        elif isinstance(error, UnicodeDecodeError):
            problem = f"not a text file (byte {error.start}); expected JSON"
        elif isinstance(error, json.JSONDecodeError):
            problem = f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}; is it truncated?"
        elif isinstance(error, RecursionError):
            problem = "lists or objects are nested too deeply; expected an annotation file, which nests a few levels"
        raise InputError(f"{origin}: {problem}") from None


def entries_of(content: Any, key: str, needed: tuple[str, ...], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, entry) of the list `content[key]`, each checked to be an object with the fields `needed`."""
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        found = f"an object with {', '.join(map(str, list(content)[:6]))}" if isinstance(content, dict) else "no object"
        raise InputError(f'{path}: expected an object with a list "{key}", found {found}')
    for number, entry in enumerate(content[key]):
        check_fields(entry, needed, f"{path}: entry {number} of {key}")
        yield number, entry


def check_fields(entry: Any, needed: tuple[str, ...], where: str) -> None:
    """Raise InputError naming `where` when `entry` is not an object with all the fields `needed`."""
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected an object, found {type(entry).__name__}")
    missing = [field for field in needed if field not in entry]
    if missing:
        raise InputError(f'{where}: lacks "{missing[0]}"; found {", ".join(map(str, list(entry)[:8])) or "nothing"}')


def image_key(file_name: str) -> str:
    """Return a file name without folders and image suffix ("train2014/a.jpg" gives "a"): its image key."""
    return path_key(file_name).rsplit("/", 1)[-1]


def path_key(file_name: str) -> str:
    """Return a file name without image suffix ("cat/001.jpg" gives "cat/001"): a key that keeps its folders."""
    name = file_name.replace("\\", "/")
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in _IMAGE_SUFFIXES else name
