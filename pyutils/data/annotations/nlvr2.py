"""NLVR2: the JSON lines that the authors publish (Suhr et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from pyutils.config import setting
from pyutils.data.annotations.fields import get_split
from pyutils.data.records import PairRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields, read_json_lines

_LABELS = {"True": True, "False": False, "None": None}


@dataclass(frozen=True)
class NLVR2Config:
    """The `nlvr2:` section of a configuration."""

    root: str = setting("~/.paddlenlp/datasets/NLVR2", "Folder that the paths below are relative to.")
    splits: dict[str, str] = setting({}, "Split name -> its JSON lines.")


def read_split(config: NLVR2Config, name: str) -> RecordTable[PairRecord]:
    """Read the records of split `name`. Raises InputError if it is not configured, and for a malformed file."""
    return read(Path(config.root).expanduser() / get_split(config.splits, name, "nlvr2.splits"))


def read(path: Union[str, Path]) -> RecordTable[PairRecord]:
    """Read records in the order of the file; a line without label (the hidden test split) has label None.

    The images of "dev-850-0-1" (split, set, pair, sentence) are "dev-850-0-img0" (left) and "dev-850-0-img1" (right).
    Raises InputError, naming the line, for malformed lines, identifiers and labels, and for a repeated identifier.
    """
    return RecordTable(PairRecord, _records(Path(path)))


def _records(path: Path) -> Iterator[PairRecord]:
    seen: set[str] = set()
    for where, entry in read_json_lines(path):
        check_fields(entry, ("identifier", "sentence"), where)
        identifier = str(entry["identifier"])
        if identifier in seen:
            raise InputError(f"{where}: the identifier {identifier} occurs twice")
        seen.add(identifier)
        parts = identifier.split("-")
        if len(parts) != 4 or not all(parts):
            raise InputError(f'{where}: "{identifier}" is not an NLVR2 identifier; expected split-set-pair-sentence')
        pair = "-".join(parts[:3])
        label = label_of(entry.get("label"), where)
        yield PairRecord(identifier, f"{pair}-img0", f"{pair}-img1", entry["sentence"], label)


def label_of(value: Any, where: str) -> Optional[bool]:
    """Return the label, None if there is none. Raises InputError at `where` if it is neither True nor False."""
    if str(value) not in _LABELS:
        raise InputError(f'{where}: expected the label "True" or "False", found {value!r}')
    return _LABELS[str(value)]
