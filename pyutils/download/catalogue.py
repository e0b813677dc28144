"""The table of data sets (`datasets.yaml`) as objects."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pyutils.errors import InputError, nearest

TABLE = Path(__file__).with_name("datasets.yaml")


@dataclass(frozen=True)
class Part:
    """One file of a data set, or an archive.

    name: the user types it after the colon. file: destination, relative to the folder of the set.
    sources: URLs in the order they are tried; empty when the file cannot be downloaded freely.
    pieces: instead of sources, URLs of an archive's pieces (NAME.part00 …) in order.
    size: bytes, sha256, md5: hexadecimal; None where unknown. about: one line.
    unpack_to: folder, relative to the set's, into which an archive is unpacked; None: not unpacked.
    by_hand: how to get the file when it cannot be downloaded freely or its sources are dead.
    extra: downloaded only when it is named.
    """

    name: str
    file: str
    about: str
    sources: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    unpack_to: str | None = None
    by_hand: str = ""
    extra: bool = False


@dataclass(frozen=True)
class DataSet:
    """A data set: its folder under the root, its licence in a line, and its parts."""

    name: str
    about: str
    folder: str
    licence: str
    parts: tuple[Part, ...]

    def part(self, name: str) -> Part:
        """Return the part called `name`. InputError with the nearest name where there is none."""
        names = {part.name: part for part in self.parts}
        if name not in names:
            raise InputError(f"{self.name} has no part {name!r}: {nearest(name, names)}")
        return names[name]


@cache
def read_table(path: Path = TABLE) -> dict[str, DataSet]:
    """Return all data sets by name. InputError, naming the entry, for an invalid table."""
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: _data_set(name, entry, path) for name, entry in table.items()}


def _data_set(name: str, entry: dict[str, Any], path: Path) -> DataSet:
    try:
        parts = tuple(_part(part, row, f"{path}: {name}:{part}") for part, row in entry["parts"].items())
        return DataSet(name, entry["about"], _relative(entry["folder"]), entry["licence"], parts)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {name}: expected about, folder, licence and parts ({error!r})") from error


def _part(name: str, row: dict[str, Any], where: str) -> Part:
    known = {field.name for field in fields(Part)} - {"name"}
    for key in row:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}: {nearest(key, known)}")
    for key in ("file", "about"):
        if key not in row:
            raise InputError(f'{where}: expected the key "{key}"')
    if not row.get("sources") and not row.get("pieces") and not row.get("by_hand"):
        raise InputError(f'{where}: expected "sources", "pieces" or "by_hand"')
    values: dict[str, Any] = {
        key: tuple(value) if key in ("sources", "pieces") else value for key, value in row.items()
    }
    _relative(row["file"])
    return Part(name, **values)


def _relative(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise InputError(f"{TABLE}: {path!r} is not a folder below the root")
    return path


def choose(names: list[str], extras: bool = False) -> list[tuple[DataSet, Part]]:
    """Return the parts that `SET` and `SET:PART` name; a set without part names all of it, `extra` ones only with
    `extras`. InputError with the nearest name for an unknown one."""
    table = read_table()
    chosen = []
    for name in names:
        set_name, _, part_name = name.partition(":")
        if set_name not in table:
            raise InputError(f"unknown data set {set_name!r}: {nearest(set_name, table)}")
        data_set = table[set_name]
        if part_name:
            chosen.append((data_set, data_set.part(part_name)))
        else:
            chosen.extend((data_set, part) for part in data_set.parts if extras or not part.extra)
    return list(dict.fromkeys(chosen))
