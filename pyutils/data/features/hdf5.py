"""Region features in HDF5 files (needs `h5py`), in the three layouts in use.

| layout | data sets |
|---|---|
| bottom-up, adaptive | `image_features` [regions, dimension], `image_bb` [regions, 4], `pos_boxes` [images, 2] |
| bottom-up, fixed | `image_features` [images, regions, dimension], `image_bb` [images, regions, 4] |
| by key | `features/KEY` and `boxes/KEY`, or `KEY/features` and `KEY/boxes` |

The keys of the bottom-up layouts are in a data set `image_ids` (or `ids`), or in a `*imgid2idx.pkl` beside the file.
"""

from __future__ import annotations

import os
from functools import cached_property, partial
from typing import Any

import numpy as np

from pyutils.data.features.keys import KeyIndex
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import RegionFeatures
from pyutils.errors import InputError
from pyutils.formats.safe_pickle import load


class Hdf5Regions(RegionSource):
    """Region features in one HDF5 file, opened once per process."""

    format = "hdf5"

    @cached_property
    def _handles(self) -> dict[int, Any]:
        """{process id: open file}: a forked process opens its own."""
        return {}

    @property
    def _file(self) -> Any:
        """The open file of this process."""
        if os.getpid() not in self._handles:
            try:
                import h5py

                self._handles[os.getpid()] = h5py.File(self.path, "r")
            except ImportError:
                raise InputError(f"{self.path} is HDF5: install the 'h5py' package to read it") from None
            except OSError as error:
                raise InputError(f"{self.path} is not an intact HDF5 file: {error}") from error
        return self._handles[os.getpid()]

    @cached_property
    def _rows(self) -> tuple[KeyIndex, np.ndarray]:
        """(index, row of each key in the file's own order)."""
        return KeyIndex.sort(self._stored_keys(), str(self.path))

    def _load_index(self) -> KeyIndex:
        return self._rows[0]

    def _stored_keys(self) -> list[str]:
        """Keys in the file's own order."""
        file = self._file
        if "image_features" in file:
            images = len(file["pos_boxes"] if "pos_boxes" in file else file["image_features"])
            keys = self._bottom_up_keys()
            if len(keys) != images:
                raise InputError(f"{self.path}: {images} images, but {len(keys)} image ids")
            return keys
        if "features" in file and hasattr(file["features"], "keys"):
            return list(file["features"])
        keys = [key for key in file if hasattr(file[key], "keys") and "features" in file[key]]
        if not keys:
            found = ", ".join(list(file)[:6]) or "nothing"
            raise InputError(f"{self.path}: expected image_features, features/KEY or KEY/features, found {found}")
        return keys

    def _bottom_up_keys(self) -> list[str]:
        """Image ids, from the file or from the pickled table beside it."""
        for name in ("image_ids", "ids"):
            if name in self._file:
                return [key.decode() if isinstance(key, bytes) else str(key) for key in self._file[name][:].tolist()]
        tables = sorted(self.path.parent.glob(self.path.stem + "*imgid2idx.pkl"))
        if len(tables) != 1:
            raise InputError(
                f"{self.path} holds no image ids, and there is no {self.path.stem}_imgid2idx.pkl beside it: add one"
            )
        table = load(tables[0])
        return [str(key) for key, _ in sorted(table.items(), key=lambda pair: pair[1])]

    def _locate(self, position: int) -> Entry:
        index, order = self._rows
        key, row = index.name(position), int(order[position])
        file = self._file
        if "image_features" not in file:
            nested = "features" in file and hasattr(file["features"], "keys")
            features = file["features"][key] if nested else file[key]["features"]
            boxes = _member(file.get("boxes") if nested else file[key], key if nested else "boxes")
            attributes = dict(features.attrs) if nested else {**file[key].attrs, **features.attrs}
            where: Any = slice(0, len(features))
        else:
            features, boxes, attributes = file["image_features"], _member(file, "image_bb"), {}
            where = slice(*(int(edge) for edge in file["pos_boxes"][row])) if "pos_boxes" in file else row
        count = features.shape[1] if isinstance(where, int) else where.stop - where.start
        size = int(attributes.get("width", 0)), int(attributes.get("height", 0))
        return Entry(int(count), partial(_decode, features, boxes, where, size, f"{self.path}, image '{key}'"))


def _member(group: Any, name: str) -> Any:
    """`group[name]`, None when either is missing."""
    return group[name] if group is not None and name in group else None


def _decode(features: Any, boxes: Any, where: Any, size: tuple[int, int], what: str) -> RegionFeatures:
    """The arrays of one image."""
    try:
        return RegionFeatures(features[where], None if boxes is None else boxes[where][:, :4], *size)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{what} cannot be read: {error}") from error
