"""SNLI-VE: JSON lines `snli_ve_{train,dev,test}.jsonl` (Xie et al. 2019), images of Flickr30k."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Union

from pyutils.data.annotations.fields import check_known
from pyutils.data.records import EntailmentRecord
from pyutils.data.table import RecordTable
from pyutils.formats.json_files import check_fields, image_key, read_json_lines

# Names only: ALBEF and ViLBERT number their classes in different orders.
LABELS = ("entailment", "neutral", "contradiction")


def read(path: Union[str, Path]) -> RecordTable[EntailmentRecord]:
    """Read records in the order of the file: image "Flickr30K_ID" (or "Flikr30kID"), hypothesis "sentence2".

    A gold label "-" (no majority) becomes None. Raises InputError, naming the line, for a malformed line or label.
    """
    return RecordTable(EntailmentRecord, _records(Path(path)))


def _records(path: Path) -> Iterator[EntailmentRecord]:
    for where, entry in read_json_lines(path):
        image_field = "Flickr30K_ID" if "Flickr30K_ID" in entry else "Flikr30kID"
        check_fields(entry, (image_field, "sentence2"), where)
        label = entry.get("gold_label")
        if label == "-":
            label = None
        if label is not None:
            check_known(label, LABELS, "gold_label", where)
        yield EntailmentRecord(
            image=image_key(str(entry[image_field])),
            sentence=entry["sentence2"],
            label=label,
            identifier=str(entry.get("pairID", where.rsplit(" ", 1)[-1])),
        )
