"""Captions as the original retrieval reads them: JSON lines, a picture each (`all_data_final_train_2014.jsonline`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields, image_key, read_json_lines


def read_caption_lines(path: Path) -> RecordTable[CaptionRecord]:
    """One record a picture with all its captions, in the order of the file. `image` is the key of `img_path`.

    Raises InputError naming file and line for a line without `id`, `img_path` or captions, and for an empty file.
    """
    records = RecordTable(CaptionRecord, _records(path))
    if not len(records):
        raise InputError(f"{path}: no line with captions; expected one picture a line")
    return records


def _records(path: Path) -> Iterator[CaptionRecord]:
    for where, entry in read_json_lines(path):
        check_fields(entry, ("id", "img_path", "sentences"), where)
        captions = entry["sentences"]
        if not isinstance(captions, list) or not captions or not all(isinstance(text, str) for text in captions):
            raise InputError(f"{where}: sentences is {captions!r}, expected a list of captions")
        yield CaptionRecord(image_key(str(entry["img_path"])), tuple(captions), entry["id"])
