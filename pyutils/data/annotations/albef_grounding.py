"""ALBEF's grounding lists and the detections among which it chooses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from pyutils.data.annotations.albef_lists import Paths, list_entries, text_of, whole_number
from pyutils.data.records import BoxXYWH, ExpressionRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import read_json


def read(paths: Paths) -> RecordTable[ExpressionRecord]:
    """Entries `{"image", "text", "ref_id"}`; "image_id", "split" and "box" (x, y, w, h in pixels) where given.

    The lists of `pyutils.data.prepare` have all of them; for lists without boxes, look the references up in
    `pyutils.data.refer.api.Refer`. Raises InputError naming file and entry.
    """
    return RecordTable(ExpressionRecord, _records(paths))


def read_detections(path: Union[str, Path]) -> dict[int, np.ndarray]:
    """Detected boxes of each image (`dets.json`): [n, 4] float64, x, y, width, height in pixels, in file order.

    Numbers after the fourth (a score) are left out. Raises InputError naming file and image.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: expected an object from image id to boxes, found {type(content).__name__}; make one with "
            "python -m pyutils.data.prepare refcoco+"
        )
    return {_image_id(key, path): _boxes(value, f"{path}: image {key}") for key, value in content.items()}


def _records(paths: Paths) -> Iterator[ExpressionRecord]:
    for where, entry in list_entries(paths, ("image", "text", "ref_id")):
        yield ExpressionRecord(
            image=text_of(entry, "image", where),
            expression=text_of(entry, "text", where),
            ref_id=whole_number(entry, "ref_id", where),
            image_id=whole_number(entry, "image_id", where) if "image_id" in entry else -1,
            split=str(entry.get("split", "")),
            box=_box(entry.get("box"), where),
        )


def _box(value: Any, where: str) -> Optional[BoxXYWH]:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all(isinstance(edge, (int, float)) for edge in value):
        raise InputError(f'{where}: expected x, y, width, height in "box", found {value!r}')
    return tuple(float(edge) for edge in value)


def _image_id(key: str, path: Path) -> int:
    if not key.isdigit():
        raise InputError(f"{path}: expected image ids as keys, found {key!r}")
    return int(key)


def _boxes(value: Any, where: str) -> np.ndarray:
    try:
        return np.array([box[:4] for box in value], dtype=np.float64).reshape(-1, 4)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected a list of boxes x, y, width, height ({error})") from error
