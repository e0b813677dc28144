"""ALBEF's NLVR2 lists."""

from __future__ import annotations

from collections.abc import Iterator

from pyutils.data.annotations.albef_lists import Paths, list_entries, text_of
from pyutils.data.records import PairRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError

_LABELS = {"True": True, "False": False, True: True, False: False}


def read(paths: Paths) -> RecordTable[PairRecord]:
    """Entries `{"images": [left, right], "sentence", "label": "True" | "False"}`; "identifier" where it is given.

    Without an identifier, "FILE: entry N" stands for it. Raises InputError naming file and entry.
    """
    return RecordTable(PairRecord, _records(paths))


def _records(paths: Paths) -> Iterator[PairRecord]:
    for where, entry in list_entries(paths, ("images", "sentence")):
        images = entry["images"]
        if not isinstance(images, list) or len(images) != 2 or not all(isinstance(image, str) for image in images):
            raise InputError(f'{where}: expected two image paths in "images", found {images!r}')
        label = entry.get("label")
        if label is not None and (not isinstance(label, (str, bool)) or label not in _LABELS):
            raise InputError(f'{where}: expected the label "True" or "False", found {label!r}')
        yield PairRecord(
            identifier=str(entry.get("identifier", where)),
            left=images[0],
            right=images[1],
            sentence=text_of(entry, "sentence", where),
            label=None if label is None else _LABELS[label],
        )
