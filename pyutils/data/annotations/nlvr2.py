"""NLVR2: JSON lines as the authors publish them (Suhr et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from pyutils.config import setting
from pyutils.data.records import PairRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError, nearest
from pyutils.formats.json_files import check_fields, read_json_lines

_LABELS = {"True": True, "False": False, True: True, False: False}


@dataclass(frozen=True)
class NLVR2Config:
    """The `nlvr2:` section of a configuration."""

    root: str = setting("~/.paddlenlp/datasets/NLVR2", "Folder that the paths below are relative to.")
    splits: dict[str, str] = setting({}, "Split name -> its JSON lines.")


def read_split(config: NLVR2Config, name: str) -> RecordTable[PairRecord]:
    """The records of split `name`. InputError for a split that is not configured, and for a malformed file."""
    if name not in config.splits:
        raise InputError(f"nlvr2.splits has no split {name!r}: {nearest(name, config.splits)}")
    return read(Path(config.root).expanduser() / config.splits[name])


def read(path: Union[str, Path]) -> RecordTable[PairRecord]:
    """Records in the order of the file; a line without label (the hidden test split) has label None.

    Of "dev-850-0-1" (split, set, pair, sentence) the images are "dev-850-0-img0" (left) and "dev-850-0-img1" (right).
    Raises InputError, naming the line, for malformed lines, identifiers and labels, and for a repeated identifier.
    """
    return RecordTable(PairRecord, _records(Path(path)))


def image_keys(identifier: str) -> tuple[str, str]:
    """Image keys (left, right) of an example. InputError when the identifier is not split-set-pair-sentence."""
    parts = identifier.split("-")
    if len(parts) != 4 or not all(parts):
        raise InputError(f'"{identifier}" is not an NLVR2 identifier; expected split-set-pair-sentence')
    pair = "-".join(parts[:3])
    return f"{pair}-img0", f"{pair}-img1"


def _records(path: Path) -> Iterator[PairRecord]:
    seen: set[str] = set()
    for where, entry in read_json_lines(path):
        check_fields(entry, ("identifier", "sentence"), where)
        identifier = str(entry["identifier"])
        if identifier in seen:
            raise InputError(f"{where}: the identifier {identifier} occurs twice")
        seen.add(identifier)
        try:
            left, right = image_keys(identifier)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        yield PairRecord(identifier, left, right, entry["sentence"], label_of(entry.get("label"), where))


def label_of(value: Any, where: str) -> Optional[bool]:
    """Return the label, None where there is none. InputError when it is neither True nor False."""
    if value is None:
        return None
    if not isinstance(value, (str, bool)) or value not in _LABELS:
        raise InputError(f'{where}: expected the label "True" or "False", found {value!r}')
    return _LABELS[value]
