"""Read COCO's `instances.json` without parsing the outlines, and single outlines as masks.

Nine tenths of such a file are polygon coordinates, which grounding by boxes does not need. They are removed before the
JSON parser sees them; their byte ranges are kept, to read a mask later. The objects of a file in the usual form are
parsed into columns directly, without a dictionary each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.json

from pyutils.errors import InputError
from pyutils.extras import need
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
    """A file without its outlines.

    content: the parsed file. spans: byte ranges of the outlines. objects: the annotations as a table with the columns
    id, image_id, category_id, iscrowd, segmentation int64, area float64, bbox list of float64; None if they are in
    `content["annotations"]`. "segmentation" is an index into `spans`; missing and null ones are kept.
    """

    content: dict[str, Any]
    spans: list[tuple[int, int]]
    objects: pa.Table | None


def read_instances(path: Path, columns: bool = False) -> Instances:
    """Read the file `path`; with `columns`, annotations as a table if they are in the usual form.

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
    """Return `text` with an empty list of annotations, and these as a table.

    Returns `text` itself and None if they are not flat objects in one line; the JSON parser then reads them, and raises
    the errors.
    """
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
    """Yield the byte ranges of all "segmentation" values: nested lists of numbers, or one flat object (RLE)."""
    for key in _KEY.finditer(data):
        start = key.end()
        brace = data.find(b"}", start)
        first = data[start : start + 1]
        if first == b"{":
            stop = brace + 1
        elif first == b"[":
            # Lists of numbers only: they end at the last bracket before the next key or the end of the object.
            quote = data.find(b'"', start, brace if brace >= 0 else len(data))
            stop = data.rfind(b"]", start, quote if quote >= 0 else brace) + 1
        else:
            continue
        if stop > start:
            yield start, stop


def read_outlines(path: Path, spans: Sequence[tuple[int, int]]) -> list[Any]:
    """Read values of "segmentation" keys: polygons as lists of x, y in pixels, an RLE dictionary, or None.

    `spans` are byte ranges (start, stop) of `read_instances`, -1 without an outline. Raises InputError when the file
    has changed since.
    """
    outlines: list[Any] = []
    try:
        with path.open("rb") as stream:
            for start, stop in spans:
                stream.seek(max(start, 0))
                outlines.append(None if start < 0 else json.loads(stream.read(stop - start)))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: changed since it was opened ({error}); open the data set again") from error
    return outlines


def to_mask(outline: Any, height: int, width: int, what: str) -> np.ndarray:
    """Convert an outline to a mask [height, width] uint8, 1 inside. Several polygons of one object are joined.

    `what` names the object in errors. Raises InputError when it has no outline, or pycocotools is not installed.
    """
    if not outline:
        raise InputError(f"{what}: has no outline, so no mask; use its box")
    need("refer", "pycocotools", f"{what}: reading masks")
    from pycocotools import mask as coco_mask

    if isinstance(outline, list):
        return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(outline, height, width)))
    counts, size = outline.get("counts"), list(outline.get("size", ()))
    # The decoder trusts the run lengths and would return uninitialised memory for other sizes.
    if size != [height, width] or (isinstance(counts, list) and sum(counts) != height * width):
        raise InputError(f"{what}: its outline is for size {size}, expected [{height}, {width}]; use its box")
    if isinstance(counts, list):
        outline = coco_mask.frPyObjects(outline, height, width)
    return coco_mask.decode(outline)


def rebuild_instances(refs: PathLike, coco: PathLike, destination: PathLike) -> int:
    """Write the part of `coco` (instances_train2014.json) that the references of `refs` need; return its image count.

    As in the published files, that is every image of a reference, with all objects of these images and all categories.
    Raises InputError when `coco` lacks an image or an object of a reference, or is no COCO file.
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
