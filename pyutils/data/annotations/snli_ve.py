"""SNLI-VE: JSON lines `snli_ve_{train,dev,test}.jsonl` (Xie et al. 2019), images of Flickr30k."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional, Union

from pyutils.data.records import EntailmentRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError, nearest
from pyutils.formats.json_files import check_fields, image_key, read_json_lines

# The order of ALBEF's and ViLBERT's classifiers differs; tasks number the names, this module does not.
LABELS = ("entailment", "neutral", "contradiction")


def read(path: Union[str, Path]) -> RecordTable[EntailmentRecord]:
    """Records in the order of the file: image "Flickr30K_ID" (or "Flikr30kID"), hypothesis "sentence2".

    A gold label "-" (no majority) becomes None. Raises InputError, naming the line, for a malformed line or label.
    """
    return RecordTable(EntailmentRecord, _records(Path(path)))


def _records(path: Path) -> Iterator[EntailmentRecord]:
    for where, entry in read_json_lines(path):
        image_field = "Flickr30K_ID" if "Flickr30K_ID" in entry else "Flikr30kID"
        check_fields(entry, (image_field, "sentence2"), where)
        yield EntailmentRecord(
            image=image_key(str(entry[image_field])),
            sentence=entry["sentence2"],
            label=_label(entry.get("gold_label"), where),
            identifier=str(entry.get("pairID", where.rsplit(" ", 1)[-1])),
        )


def _label(value: Any, where: str) -> Optional[str]:
    if value is None or value == "-":
        return None
    if value not in LABELS:
        raise InputError(f"{where}: unknown gold_label {value!r}: {nearest(str(value), LABELS)}")
    return value
