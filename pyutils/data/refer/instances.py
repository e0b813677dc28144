"""Reading COCO's `instances.json` without parsing the outlines.

Nine tenths of such a file are polygon coordinates, which grounding by boxes never looks at. They are cut out before the
JSON parser sees them; what stays is where each outline lies in the file, so that a mask can be read later on its own.
The objects of a file as it is usually written then go into columns at once, without a dictionary for each of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.json

from pyutils.errors import InputError

_KEY = re.compile(rb'"segmentation"\s*:\s*')
_ANNOTATIONS = re.compile(rb'"annotations"\s*:\s*\[(?=\{)')
_END = re.compile(rb"\}\s*\]")
_SCHEMA = pa.schema(
    [(name, pa.int64()) for name in ("id", "image_id", "category_id", "iscrowd", "segmentation")]
    + [("area", pa.float64()), ("bbox", pa.list_(pa.float64()))]
)


class Instances(NamedTuple):
    """A file without its outlines: `content` is the parsed file, `spans` the byte ranges of the outlines, `objects` its
    annotations as a table with the columns id, image_id, category_id, iscrowd, segmentation int64, area float64, bbox
    list of float64, or None where they are in `content["annotations"]`, row by row. "segmentation" is an index into
    `spans`; an annotation without an outline, or with one that is null, keeps what it has."""

    content: dict[str, Any]
    spans: list[tuple[int, int]]
    objects: pa.Table | None


def read_instances(path: Path, columns: bool = False) -> Instances:
    """The file `path`; with `columns`, annotations as a table where they are written in the usual way.

    Raises InputError when the file is not JSON or lacks one of the lists "images", "annotations", "categories".
    """
    data = path.read_bytes()
    spans = list(_outlines(data))
    numbers = (b"%d" % number for number in count())
    starts, stops = [0, *(stop for _, stop in spans)], [*(start for start, _ in spans), len(data)]
    pieces = [part for start, stop in zip(starts, stops) for part in (data[start:stop], next(numbers))]
    text = b"".join(pieces[:-1])
    rest, objects = _without_objects(text) if columns else (text, None)
    try:
        parsed = json.loads(rest)
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file ({error}); download it again") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(parsed, dict) or not isinstance(parsed.get(key), list):
            raise InputError(f'{path}: expected COCO annotations with a list "{key}", found none')
    return Instances(parsed, spans, objects)


def _without_objects(text: bytes) -> tuple[bytes, pa.Table | None]:
    """`text` with an empty list of annotations, and these as a table; or `text` as it is, and None, where they are not
    one flat object after the other in one line: then the JSON parser reads them, and says what is wrong."""
    start = _ANNOTATIONS.search(text)
    end = start and _END.search(text, start.end())
    if not start or not end:
        return text, None
    objects = np.frombuffer(text, np.uint8, end.start() + 1 - start.end(), start.end()).copy()
    after = np.flatnonzero(objects == ord("}"))[:-1] + 1
    if (objects == ord("\n")).any() or (objects[after] != ord(",")).any():
        return text, None
    objects[after] = ord("\n")  # one object a line
    options = pa.json.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore")
    try:
        table = pa.json.read_json(pa.BufferReader(pa.py_buffer(objects)), parse_options=options)
    except pa.ArrowException:
        return text, None
    if len(table) != len(after) + 1 or any(table[name].null_count for name in ("id", "image_id", "category_id")):
        return text, None
    return text[: start.end()] + text[end.start() + 1 :], table


def _outlines(data: bytes) -> Iterator[tuple[int, int]]:
    """Byte ranges of the values of every "segmentation" key: nested lists of numbers, or one flat object (RLE)."""
    for key in _KEY.finditer(data):
        start = key.end()
        brace = data.find(b"}", start)
        first = data[start : start + 1]
        if first == b"{":
            stop = brace + 1
        elif first == b"[":
            # Lists hold numbers only: theirs ends at the last bracket before the next key or the end of the object.
            quote = data.find(b'"', start, brace if brace >= 0 else len(data))
            stop = data.rfind(b"]", start, quote if quote >= 0 else brace) + 1
        else:
            continue
        if stop > start:
            yield start, stop
