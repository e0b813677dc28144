"""The fields of stored regions under their published names: one table for LMDB, `.npy`, `.npz` and TSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyutils.data.features.spec import read_number

SYNONYMS = {
    "features": ("features", "box_features", "x"),
    "boxes": ("boxes", "bbox", "cls_boxes"),
    "class_probs": ("cls_prob", "class_probs"),
    "num_boxes": ("num_boxes",),
    "width": ("image_w", "image_width", "img_w", "w"),
    "height": ("image_h", "image_height", "img_h", "h"),
}


def field(values: Mapping[str, Any], name: str) -> Any:
    """Return the field `name` (of SYNONYMS) of one image under any of its names, None without it.

    Class probabilities `[regions]` are those of the best class alone, which is no distribution: None.
    """
    found = next((values[key] for key in SYNONYMS[name] if values.get(key) is not None), None)
    return None if name == "class_probs" and isinstance(found, np.ndarray) and found.ndim == 1 else found


def number(values: Mapping[str, Any], name: str, where: object, default: int | None = None) -> int:
    """Return the field `name` as a whole number. Raises InputError with its stored name for anything else."""
    known = (key for key in SYNONYMS[name] if values.get(key) is not None)
    return read_number(values, next(known, SYNONYMS[name][0]), where, default)
