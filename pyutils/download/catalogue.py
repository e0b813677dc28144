"""The table of data sets (`datasets.yaml`) as objects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
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


@cache
def read_table(path: Path = TABLE) -> dict[str, DataSet]:
    """Return all data sets by name."""
    return {name: _data_set(name, **row) for name, row in yaml.safe_load(path.read_text(encoding="utf-8")).items()}


def _data_set(name: str, about: str, folder: str, licence: str, parts: dict[str, dict[str, Any]]) -> DataSet:
    lists = ("sources", "pieces")
    rows: dict[str, dict[str, Any]] = {
        part: {key: tuple(row[key]) if key in lists else row[key] for key in row} for part, row in parts.items()
    }
    return DataSet(name, about, folder, licence, tuple(Part(part, **row) for part, row in rows.items()))


def choose(names: list[str], extras: bool = False) -> list[tuple[DataSet, Part]]:
    """Return the parts that `SET` and `SET:PART` name; a set without part names all of it, `extra` ones only with
    `extras`. InputError with the nearest name for an unknown one."""
    table = read_table()
    chosen: list[tuple[DataSet, Part]] = []
    for name in names:
        set_name, _, part_name = name.partition(":")
        if set_name not in table:
            raise InputError(f"unknown data set {set_name!r}: {nearest(set_name, table)}")
        data_set = table[set_name]
        known = {part.name: part for part in data_set.parts}
        if part_name and part_name not in known:
            raise InputError(f"{set_name} has no part {part_name!r}: {nearest(part_name, known)}")
        parts = [known[part_name]] if part_name else [part for part in data_set.parts if extras or not part.extra]
        chosen.extend((data_set, part) for part in parts)
    return list(dict.fromkeys(chosen))
