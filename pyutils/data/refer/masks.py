"""Outlines to masks, with pycocotools (imported when the first mask is asked for)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError
from pyutils.extras import need


def read_outlines(path: Path, spans: Sequence[tuple[int, int]]) -> list[Any]:
    """Values of "segmentation" keys: polygons as lists of x, y in pixels, an RLE dictionary, or None.

    `spans` are the bytes (start, stop) that `pyutils.data.refer.instances` found, -1 without an outline. Raises
    InputError when the file has changed since.
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
    """Mask [height, width] uint8, 1 inside. Several polygons of one object are joined.

    `what` names the object in messages. Raises InputError when it has no outline, or pycocotools is not installed.
    """
    if not outline:
        raise InputError(f"{what}: has no outline, so no mask; use its box")
    need("refer", "pycocotools", f"{what}: reading masks")
    from pycocotools import mask as coco_mask

    if isinstance(outline, list):
        return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(outline, height, width)))
    counts, size = outline.get("counts"), list(outline.get("size", ()))
    if size != [height, width] or (isinstance(counts, list) and sum(counts) != height * width):
        # The decoder trusts the run lengths and would hand out memory that it never filled.
        raise InputError(f"{what}: its outline is for size {size}, expected [{height}, {width}]; use its box")
    if isinstance(counts, list):
        outline = coco_mask.frPyObjects(outline, height, width)
    return coco_mask.decode(outline)
