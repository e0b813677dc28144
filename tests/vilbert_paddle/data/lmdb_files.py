"""Small LMDBs of region features in the originals' formats."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path

import numpy as np

DIMENSION = 16


def picture(seed: int, regions: int, width: int = 100, height: int = 80, classes: int = 0) -> dict:
    """One picture's content with arrays; boxes lie inside."""
    rng = np.random.default_rng(seed)
    corners = rng.random((regions, 2)) * [width / 2, height / 2]
    boxes = np.concatenate([corners, corners + 1 + rng.random((regions, 2)) * [width / 3, height / 3]], axis=1)
    content = {
        "image_id": str(seed),
        "image_w": width,
        "image_h": height,
        "num_boxes": regions,
        "boxes": boxes.astype(np.float32),
        "features": rng.standard_normal((regions, DIMENSION)).astype(np.float32),
    }
    if classes:
        content["cls_prob"] = rng.dirichlet(np.ones(classes), regions).astype(np.float32).reshape(regions, classes)
    return content


def as_text(content: dict) -> dict:
    """The same content as the base64 format writes it: every value is text."""
    coded = {name: base64.b64encode(np.ascontiguousarray(content[name])) for name in ("boxes", "features")}
    return {**{name: str(value) for name, value in content.items() if name not in coded}, **coded}


def write_lmdb(path: Path, pictures: dict[str, dict], key_list: bool = True) -> Path:
    """An LMDB folder at `path` of pickled values, with or without the entry `keys`."""
    import lmdb

    path.mkdir(parents=True)
    with lmdb.open(str(path), map_size=1 << 26) as environment, environment.begin(write=True) as writing:
        for key, content in pictures.items():
            writing.put(key.encode(), pickle.dumps(content))
        if key_list:
            writing.put(b"keys", pickle.dumps([key.encode() for key in pictures]))
    return path
