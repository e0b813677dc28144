"""Checks shared by all annotation readers: types of fields, known names, splits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union

import numpy as np

from pyutils.errors import InputError, nearest
from pyutils.formats.json_files import check_fields, read_json_list

Files = TypeVar("Files")
Types = Mapping[str, Union[type, tuple[type, ...]]]

_TYPE_NAMES = {int: "a whole number", str: "a string", list: "a list"}
_LARGEST_SHOWN = 60


def list_entries(path: Path, needed: tuple[str, ...], hint: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("FILE: entry N", entry) for each entry of a JSON list, N from 0, checked to have the fields `needed`.

    Raises InputError, with `hint` at the end, when the file holds no list.
    """
    for number, entry in enumerate(read_json_list(path, hint)):
        check_fields(entry, needed, f"{path}: entry {number}")
        yield f"{path}: entry {number}", entry


def check_types(entry: Mapping[str, Any], types: Types, where: str) -> None:
    """Raise InputError at `where` unless the fields named in `types` have these types; missing fields pass."""
    for field, expected in types.items():
        expected = expected if isinstance(expected, tuple) else (expected,)
        # not isinstance: True is no whole number
        if field in entry and type(entry[field]) not in expected:
            names = " or ".join(_TYPE_NAMES[one] for one in expected)
            raise InputError(f'{where}: expected {names} as "{field}", found {shown(entry[field])}')


def whole_number(entry: Mapping[str, Any], field: str, where: str) -> int:
    """Return the whole number of a field, also from digits in quotes or NumPy. Raises InputError at `where` else."""
    value = entry[field]
    if isinstance(value, np.integer) or (isinstance(value, str) and value.isdecimal()):
        value = int(value)
    check_types({field: value}, {field: int}, where)
    return value


def shown(value: Any) -> str:
    """Quote a value for an error message: None as JSON's null, long values cut."""
    text = "null" if value is None else ascii(value)
    return text if len(text) <= _LARGEST_SHOWN else text[:_LARGEST_SHOWN] + "…"


def check_known(value: Any, known: Collection[str], what: str, where: str) -> None:
    """Raise InputError at `where`, naming the nearest of `known`, unless `value` is one of them."""
    if value not in known:
        raise InputError(f"{where}: unknown {what} {value!r}: {nearest(str(value), known)}")


def get_split(splits: Mapping[str, Files], name: str, key: str) -> Files:
    """Return the entry `name` of `splits`. Raises InputError naming their source `key` and the nearest without one."""
    if name not in list(splits):  # a list in place of one name is not hashable
        raise InputError(f"{key} has no split {name!r}: {nearest(name, splits)}")
    return splits[name]
