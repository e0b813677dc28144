"""Writers of region features: detectron folders (`.npy` and `.npz`) and LMDBs (base64 and raw arrays)."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.data.features.exporting import lmdb_entry, npy_info
from pyutils.data.features.spec import RegionFeatures
from pyutils.formats.atomic import write_json


def write_spec(
    folder: Path, detector: str, provenance: str, dimension: int, max_regions: int, has_class_probs: bool = False
) -> None:
    """Write `spec.json`, the `FeatureSpec` of a folder of features."""
    spec = {
        "detector": detector,
        "dimension": dimension,
        "max_regions": max_regions,
        "box_format": "xyxy_pixels",
        "has_class_probs": has_class_probs,
        "dtype": "float32",
        "provenance": provenance,
    }
    write_json(folder / "spec.json", spec)


def write_npy(folder: Path, name: str, regions: RegionFeatures) -> None:
    """Write `NAME.npy` `[n, d]` and `NAME_info.npy` (a pickled dict) as MMF's extraction script does."""
    np.save(folder / f"{name}.npy", regions.features)
    np.save(folder / f"{name}_info.npy", np.array(npy_info(regions), dtype=object), allow_pickle=True)


def write_npz(folder: Path, file_name: str, regions: RegionFeatures) -> None:
    """Write `FILE_NAME.npz` with box_features, max_conf and cls_boxes, as VisualBERT's extraction script does.

    `regions` have boxes and class probabilities.
    """
    assert regions.boxes is not None and regions.class_probs is not None
    np.savez(
        folder / f"{file_name}.npz",
        box_features=regions.features,
        max_conf=regions.class_probs[:, :-1].max(axis=1),
        cls_boxes=regions.boxes,
    )


def write_lmdb(path: Path, entries: Sequence[tuple[str, RegionFeatures]], base64_text: bool) -> None:
    """Write an LMDB of pickled dicts with the key list under `keys`, as ViLBERT's extraction scripts do.

    Args:
        path: the database folder, created if missing.
        entries: image id and regions.
        base64_text: arrays and numbers as text (ViLBERT), else as arrays and integers (12-in-1).
    """
    import lmdb

    records = {name.encode(): pickle.dumps(_entry(name, regions, base64_text), protocol=2) for name, regions in entries}
    records[b"keys"] = pickle.dumps(sorted(records), protocol=2)
    path.mkdir(parents=True, exist_ok=True)
    # Keys, page headers and partly filled overflow pages: at most two pages in addition to each value.
    size = sum(len(value) + 2 * 4096 for value in records.values()) + (1 << 20)
    with lmdb.open(str(path), map_size=size, lock=False) as store, store.begin(write=True) as transaction:
        for key in sorted(records):
            transaction.put(key, records[key])


def _entry(name: str, regions: RegionFeatures, base64_text: bool) -> dict[str, Any]:
    entry = lmdb_entry(name, regions)
    if not base64_text:
        return entry
    text = {key: str(entry[key]) for key in ("image_h", "image_w", "num_boxes")}
    encoded = {key: base64.b64encode(entry[key].tobytes()).decode("ascii") for key in ("boxes", "features")}
    return {"image_id": name, **text, **encoded}
