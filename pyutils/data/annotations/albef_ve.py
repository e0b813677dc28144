"""ALBEF's visual entailment lists (SNLI-VE)."""

from __future__ import annotations

from collections.abc import Iterator

from pyutils.data.annotations.albef_lists import Paths, list_entries, text_of
from pyutils.data.annotations.snli_ve import LABELS
from pyutils.data.records import EntailmentRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError, nearest


def read(paths: Paths) -> RecordTable[EntailmentRecord]:
    """Entries `{"image", "sentence", "label": "entailment" | "neutral" | "contradiction"}`; "identifier" where given.

    Without an identifier, "FILE: entry N" stands for it. Raises InputError naming file and entry, and the nearest label
    for one outside the set.
    """
    return RecordTable(EntailmentRecord, _records(paths))


def _records(paths: Paths) -> Iterator[EntailmentRecord]:
    for where, entry in list_entries(paths, ("image", "sentence", "label")):
        if entry["label"] not in LABELS:
            raise InputError(f"{where}: unknown label {entry['label']!r}: {nearest(str(entry['label']), LABELS)}")
        yield EntailmentRecord(
            image=text_of(entry, "image", where),
            sentence=text_of(entry, "sentence", where),
            label=entry["label"],
            identifier=str(entry.get("identifier", where)),
        )
