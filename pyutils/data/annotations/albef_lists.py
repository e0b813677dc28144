"""What all of ALBEF's lists share: JSON files that hold a list of objects, one or several of them read in turn.

`image` fields of these lists are paths below an image folder, and stay that in the records.
`pyutils.data.images.Images` finds them, also when the list starts its paths elsewhere than the folder does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union

from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields, read_json

Paths = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]


def list_entries(paths: Paths, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, entry) of each entry of the files in turn; `place` is "FILE: entry N", counted from 0.

    Raises InputError when a file is missing, is no JSON list, or an entry lacks one of the fields `needed`.
    """
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        content = read_json(Path(path))
        if not isinstance(content, list):
            raise InputError(
                f"{path}: expected a JSON list of entries, found {type(content).__name__}; official files are turned "
                "into lists by python -m pyutils.data.prepare"
            )
        for number, entry in enumerate(content):
            where = f"{path}: entry {number}"
            check_fields(entry, needed, where)
            yield where, entry


def text_of(entry: dict[str, Any], field: str, where: str, blank: bool = False) -> str:
    """The text of a field. InputError when it is something else, or blank unless `blank` allows that."""
    value = entry[field]
    if not isinstance(value, str):
        raise InputError(f'{where}: expected text in "{field}", found {type(value).__name__}')
    if not blank and not value.strip():
        raise InputError(f'{where}: "{field}" is empty; fill it or take the entry out of the list')
    return value


def texts_of(entry: dict[str, Any], field: str, where: str, blank: bool = False) -> tuple[str, ...]:
    """The texts of a field that holds one or a list of them. InputError when there is none, and as for `text_of`."""
    value = entry[field]
    if not isinstance(value, list):
        return (text_of(entry, field, where, blank),)
    if not value:
        raise InputError(f'{where}: "{field}" is empty; fill it or take the entry out of the list')
    return tuple(text_of({field: item}, field, where, blank) for item in value)


def whole_number(entry: dict[str, Any], field: str, where: str) -> int:
    """The whole number of a field; digits in quotes count. InputError when it is something else."""
    value = entry[field]
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f'{where}: expected a whole number in "{field}", found {value!r}')
    return value
