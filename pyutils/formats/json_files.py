"""Reading JSON and JSON lines with errors that name the file, the place and what was expected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyutils.errors import InputError

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises InputError when it is missing, not UTF-8, or not JSON (with line and column).
    """
    try:
        with path.open(encoding="utf-8") as stream:
            return json.load(stream)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file (byte {error.start}); expected JSON") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}; is it cut off?"
        ) from error


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) for each line that is not empty; `place` is "FILE: line N". InputError as `read_json`."""
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield f"{path}: line {number}", _json_object(line, f"{path}: line {number}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file (byte {error.start}); expected JSON lines") from error


def entries_of(content: Any, key: str, needed: tuple[str, ...], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, entry) of the list `content[key]`, each checked to be an object with the fields `needed`."""
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        found = f"an object with {', '.join(map(str, list(content)[:6]))}" if isinstance(content, dict) else "no object"
        raise InputError(f'{path}: expected an object with a list "{key}", found {found}')
    for number, entry in enumerate(content[key]):
        check_fields(entry, needed, f"{path}: entry {number} of {key}")
        yield number, entry


def check_fields(entry: Any, needed: tuple[str, ...], where: str) -> None:
    """InputError at `where` when `entry` is not an object with all the fields `needed`."""
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected an object, found {type(entry).__name__}")
    missing = [field for field in needed if field not in entry]
    if missing:
        raise InputError(f'{where}: lacks "{missing[0]}"; found {", ".join(map(str, list(entry)[:8])) or "nothing"}')


def image_key(file_name: str) -> str:
    """The image key of a file name: without folders and without an image suffix ("train2014/a.jpg" gives "a")."""
    name = file_name.replace("\\", "/").rsplit("/", 1)[-1]
    suffix = Path(name).suffix
    return name[: -len(suffix)] if suffix.lower() in _IMAGE_SUFFIXES else name


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not valid JSON at column {error.colno}: {error.msg}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value
