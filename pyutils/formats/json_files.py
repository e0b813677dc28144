"""Read JSON and JSON lines, with errors that name the file, the position and the expected value."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pyutils.errors import InputError

_WINDOW = 1 << 20  # characters
_SPACE = re.compile(r"[ \t\n\r]*")
_IN_NUMBERS = ".eE"  # and "", the end of the window
_DECODER = json.JSONDecoder()
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def read_json(path: Path, most_bytes: int | None = None) -> Any:
    """Return the content of a JSON file.

    InputError when it is missing, not a regular file, larger than `most_bytes`, not UTF-8 or not JSON (with its line).
    """
    with _naming(str(path)), _opened(path) as stream:
        if most_bytes is not None and os.fstat(stream.fileno()).st_size > most_bytes:
            raise InputError(f"{path}: larger than {most_bytes:,} bytes, which no such file is; is it another file?")
        return json.load(stream)


def read_json_list(path: Path, hint: str = "") -> Iterator[Any]:
    """Yield the entries of a JSON list one at a time; memory does not grow with the file.

    InputError as `read_json`, and, with `hint` at the end, for a file that holds something else than a list.
    """
    with _naming(str(path)), _opened(path) as stream:
        text = _Window(stream)
        if text.next_character() != "[":
            raise InputError(f"{path}: expected a JSON list of entries, found {type(read_json(path)).__name__}{hint}")
        yield from text.members("]", text.value)


def read_json_items(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of a JSON object one at a time; memory does not grow with the file. InputError likewise."""
    with _naming(str(path)), _opened(path) as stream:
        text = _Window(stream)
        if text.next_character() != "{":
            raise InputError(f"{path}: expected a JSON object, found {type(read_json(path)).__name__}")
        yield from text.members("}", text.item)


def first_key(path: Path) -> str | None:
    """Return the first key of a JSON object; None for an empty object or something else. InputError as `read_json`."""
    with _naming(str(path)), _opened(path) as stream:
        text = _Window(stream)
        if text.next_character() != "{":
            return None
        text.skip()
        return None if text.next_character() == "}" else text.key()


class _Window:
    """The part of a text file that is being decoded."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._text, self._at = stream, "", 0
        self._ended = False
        self._lines, self._columns = 0, 0  # before the window, for messages

    def next_character(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # matches nothing, too
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        """Go past a character."""
        self._at += 1

    def members(self, closing: str, member: Callable[[], Any]) -> Iterator[Any]:
        """Yield every `member()` of the list or object that begins here and is all that is left of the file."""
        self.skip()
        separator = ","
        if self.next_character() == closing:
            separator = closing
            self.skip()
        while separator == ",":
            yield member()
            separator = self.next_character()
            if separator not in (",", closing):
                self.fail("Expecting ',' delimiter")
            self.skip()
        if self.next_character():
            self.fail("Extra data")

    def key(self) -> str:
        """Decode the next key of an object."""
        if self.next_character() != '"':
            self.fail("Expecting property name enclosed in double quotes")
        return self.value()

    def item(self) -> tuple[str, Any]:
        """Decode the next key and its value."""
        key = self.key()
        if self.next_character() != ":":
            self.fail("Expecting ':' delimiter")
        self.skip()
        return key, self.value()

    def value(self) -> Any:
        """Decode the next value."""
        self.next_character()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                ahead = error.pos - self._at
                if not self._read_on():
                    self._at += ahead
                    self.fail(error.msg)
            else:
                # A number at the end of the window may go on behind it ("-1.5" of "-1.5e3").
                ahead = end - self._at
                if self._text[end : end + 1] not in _IN_NUMBERS or not self._read_on():
                    self._at += ahead
                    return value

    def fail(self, problem: str) -> None:
        """Raise JSONDecodeError with the position in the file."""
        error = json.JSONDecodeError(problem, self._text, self._at)
        error.colno += self._columns if error.lineno == 1 else 0
        error.lineno += self._lines
        raise error

    def _read_on(self) -> bool:
        """Read more of the file, twice as much as is left in the window; False at its end."""
        if self._ended:
            return False
        done, self._text = self._text[: self._at], self._text[self._at :]
        self._lines += done.count("\n")
        self._columns = len(done) - done.rfind("\n") - 1 if "\n" in done else self._columns + len(done)
        self._at = 0
        more = self._stream.read(max(_WINDOW, 2 * len(self._text)))
        self._text += more
        self._ended = not more
        return not self._ended


def holds_list(path: Path) -> bool:
    """Return True if a JSON file begins with a list; False for JSON lines. InputError as `read_json`."""
    with _naming(str(path)), _opened(path) as stream:
        return _Window(stream).next_character() == "["


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
