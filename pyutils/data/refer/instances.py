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
from pyutils.formats import safe_pickle
from pyutils.formats.atomic import PathLike, write_json

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


def rebuild_instances(refs: PathLike, coco: PathLike, destination: PathLike) -> int:
    """Write the part of `coco` (instances_train2014.json) that the references of `refs` need; return its images.

    It holds every image that a reference names, with all objects of these images and all categories, as the published
    files do. Raises InputError when `coco` lacks an image or an object that a reference points to, or is no COCO file.
    """
    references = safe_pickle.load(Path(refs))
    try:
        whole = json.loads(Path(coco).read_text(encoding="utf-8"))
        wanted = {ref["image_id"] for ref in references}
        images = [image for image in whole["images"] if image["id"] in wanted]
        annotations = [annotation for annotation in whole["annotations"] if annotation["image_id"] in wanted]
        lost = {ref["ann_id"] for ref in references} - {annotation["id"] for annotation in annotations}
        categories = whole["categories"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{coco} or {refs}: not COCO annotations or not references ({error!r})") from error
    if len(images) < len(wanted) or lost:
        raise InputError(
            f"{coco}: {len(wanted) - len(images)} images and {len(lost)} objects of {refs} are not in it; "
            "expected instances_train2014.json"
        )
    extra = {key: whole[key] for key in ("info", "licenses") if key in whole}
    write_json(
        destination, {**extra, "images": images, "annotations": annotations, "categories": categories}, indent=None
    )
    return len(images)
