"""Write region features for other programs: an LMDB of ViLBERT's readers, or a folder of `.npy` files of MMF."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pyutils.data.features.folder import array_files
from pyutils.data.features.lmdb_regions import close_environment
from pyutils.data.features.source import RegionSource
from pyutils.data.features.spec import FeatureSpec, RegionFeatures, read_spec, spec_text
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write

_COMMIT_EVERY = 256
_FIRST_MAP, _LONGEST_KEY = 1 << 28, 511
_KEY_LIST = b"keys"


def npy_info(regions: RegionFeatures) -> dict[str, Any]:
    """Return what MMF's extraction script writes to `NAME_info.npy`."""
    info: dict[str, Any] = {"bbox": regions.boxes, "num_boxes": len(regions)}
    if regions.class_probs is not None:
        info["objects"] = regions.class_probs[:, :-1].argmax(axis=1).astype(np.int64)
        info["cls_prob"] = regions.class_probs
    return {**info, "image_width": regions.width, "image_height": regions.height}


def lmdb_entry(name: str, regions: RegionFeatures) -> dict[str, Any]:
    """Return a value of 12-in-1's LMDBs: arrays and integers."""
    numbers = {"image_h": regions.height, "image_w": regions.width, "num_boxes": len(regions)}
    arrays: dict[str, Any] = {"boxes": regions.boxes, "features": regions.features}
    if regions.class_probs is not None:
        arrays["cls_prob"] = regions.class_probs
    return {"image_id": name, **numbers, **arrays}


class _Writer(ABC):
    """Adds images to a folder with a `spec.json`. Use as a context manager."""

    def __init__(self, path: Path):
        self.path = path

    @abstractmethod
    def __contains__(self, key: str) -> bool: ...

    @abstractmethod
    def add(self, key: str, regions: RegionFeatures) -> None:
        """Write one image. Raises InputError for a key that the format cannot have."""

    def __enter__(self) -> _Writer:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """Finish writing."""


class NpyWriter(_Writer):
    """`NAME.npy` `[n, d]` float32 and `NAME_info.npy`, a pickled dict."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._known = {f"{folder}{name}" for folder, name in array_files(path)}

    def __contains__(self, key: str) -> bool:
        return f"{key}.npy" in self._known

    def add(self, key: str, regions: RegionFeatures) -> None:
        if key.endswith("_info"):
            raise InputError(
                f"{self.path}: an image named {key} would be taken for the description of another; rename it"
            )
        info = np.array(npy_info(regions), dtype=object)
        # The features come last: an image without them is written again.
        for name, array in ((f"{key}_info.npy", info), (f"{key}.npy", np.asarray(regions.features, np.float32))):
            with atomic_write(self.path / name, "wb") as stream:
                np.save(stream, array, allow_pickle=array.dtype == object)

    def __exit__(self, *_: object) -> None:
        """Every file is finished when it is added."""


class LmdbWriter(_Writer):
    """Pickled dicts of float32 arrays with the list of keys under `keys`."""

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            import lmdb
        except ImportError:
            raise InputError("an LMDB needs the package lmdb: pip install lmdb") from None
        path.mkdir(parents=True, exist_ok=True)
        close_environment(path)
        self._full = lmdb.MapFullError
        self._store = lmdb.open(str(path), map_size=_FIRST_MAP)
        self._store.set_mapsize(max(_FIRST_MAP, 2 * (path / "data.mdb").stat().st_size))
        self._pending: dict[bytes, bytes] = {}

    def __contains__(self, key: str) -> bool:
        with self._store.begin() as reading:
            return reading.get(key.encode()) is not None

    def add(self, key: str, regions: RegionFeatures) -> None:
        name = key.encode()
        if len(name) > _LONGEST_KEY or name == _KEY_LIST:
            raise InputError(f"{self.path}: an LMDB cannot hold the key '{key}' (longer than 511 bytes, or 'keys')")
        floats = replace(regions, features=np.asarray(regions.features, np.float32))
        self._pending[name] = pickle.dumps(lmdb_entry(key, floats), protocol=2)
        if len(self._pending) >= _COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        """Write what was added."""
        self._put(self._pending)
        self._pending = {}

    def _put(self, values: dict[bytes, bytes]) -> None:
        """Write `values` in one transaction; the map grows until they fit."""
        while True:
            try:
                with self._store.begin(write=True) as writing:
                    for key, value in values.items():
                        writing.put(key, value)
                return
            except self._full:
                self._store.set_mapsize(2 * self._store.info()["map_size"])

    def __exit__(self, *_: object) -> None:
        try:
            self.commit()
            with self._store.begin() as reading:
                keys = [key for key in reading.cursor().iternext(values=False) if key != _KEY_LIST]
            self._put({_KEY_LIST: pickle.dumps(keys, protocol=2)})
        finally:
            self._store.close()


EXPORTS = {"lmdb": LmdbWriter, "npy": NpyWriter}
"""Formats for other programs, by name."""


def export_features(source: RegionSource, destination: Path, kind: str) -> int:
    """Write the images of `source` to `destination` in the format `kind`; those that it already has are kept.

    An interrupted export resumes when called again.

    Returns:
        Number of images added.

    Raises:
        InputError: the destination has other features or is something else, or a key does not fit the format.
    """
    spec = replace(source.spec, dtype="float32")
    _check_destination(destination, spec)
    destination.mkdir(parents=True, exist_ok=True)
    with atomic_write(destination / "spec.json") as stream:
        stream.write(spec_text(spec))
    with EXPORTS[kind](destination) as writer:
        todo = [key for key in source if key not in writer]
        for key in tqdm(todo, desc=f"export {kind}", leave=False, disable=None):
            writer.add(key, source[key])
    return len(todo)


def _check_destination(path: Path, spec: FeatureSpec) -> None:
    """Raise InputError unless `path` is empty or has features of the description `spec`."""
    found = read_spec(path)
    if found is None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path} exists and has no spec.json of exported features: choose another folder")
        return
    for name in ("detector", "provenance", "dimension", "has_class_probs"):
        there, here = getattr(found, name), getattr(spec, name)
        if there != here:
            raise InputError(f"{path} holds other features ({name} '{there}', now '{here}'): choose another folder")
