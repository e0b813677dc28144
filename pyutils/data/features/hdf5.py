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
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import numpy as np

from pyutils.data.features.keys import KeyIndex
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import RegionFeatures
from pyutils.errors import InputError
from pyutils.extras import need
from pyutils.formats.safe_pickle import load

_DAMAGE = (*(OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError, MemoryError),)


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
            need("regions", "h5py", f"{self.path}: reading HDF5")
            import h5py

            try:
                self._handles[os.getpid()] = h5py.File(self.path, "r")
            except OSError as error:
                raise InputError(f"{self.path} is not an intact HDF5 file: {error}") from error
        return self._handles[os.getpid()]

    @cached_property
    def _rows(self) -> tuple[KeyIndex, np.ndarray]:
        """(index, row of each key in the file's own order)."""
        with _naming_damage(self.path):
            return KeyIndex.sort(self._stored_keys(), str(self.path))

    def _load_index(self) -> KeyIndex:
        return self._rows[0]

    def _stored_keys(self) -> list[str]:
        """Keys in the file's own order."""
        file = self._file
        images = _member(file, "image_features")
        if images is not None:
            positions = _member(file, "pos_boxes")
            count = len(images if positions is None else positions)
            keys = self._bottom_up_keys()
            if len(keys) != count:
                raise InputError(f"{self.path}: {count} images, but {len(keys)} image ids")
            return keys
        features = _member(file, "features")
        if hasattr(features, "keys"):
            return list(features)
        members = ((key, _member(file, key)) for key in file)
        keys = [key for key, member in members if hasattr(member, "keys") and "features" in member]
        if not keys:
            found = ", ".join(list(file)[:6]) or "nothing"
            raise InputError(f"{self.path}: expected image_features, features/KEY or KEY/features, found {found}")
        return keys

    def _bottom_up_keys(self) -> list[str]:
        """Image ids, from the file or from the pickled table beside it."""
        for name in ("image_ids", "ids"):
            ids = _member(self._file, name)
            if ids is not None:
                return [key.decode() if isinstance(key, bytes) else str(key) for key in ids[:].tolist()]
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
        with _naming_damage(f"{self.path}, image '{key}'"):
            return self._find(key, row)

    def _find(self, key: str, row: int) -> Entry:
        file = self._file
        features: Any = _member(file, "image_features")
        where: Any
        if features is None:
            nested = hasattr(_member(file, "features"), "keys")
            group: Any = None if nested else _member(file, key)
            features = _member(_member(file, "features"), key) if nested else _member(group, "features")
            boxes = _member(_member(file, "boxes"), key) if nested else _member(group, "boxes")
            attributes = dict(features.attrs) if nested else {**group.attrs, **features.attrs}
            where = slice(0, len(features))
        else:
            boxes, attributes, positions = _member(file, "image_bb"), {}, _member(file, "pos_boxes")
            where = row if positions is None else slice(*(int(edge) for edge in positions[row]))
        count = features.shape[1] if isinstance(where, int) else where.stop - where.start
        size = int(attributes.get("width", 0)), int(attributes.get("height", 0))
        return Entry(int(count), partial(_decode, features, boxes, where, size, f"{self.path}, image '{key}'"))


@contextmanager
def _naming_damage(where: object) -> Iterator[None]:
    """Turn what h5py raises for a damaged file, and what other contents than expected lead to, into an InputError."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{where} is damaged or of an unknown layout ({error}); copy or write it again") from error


def _member(group: Any, name: str) -> Any:
    """`group[name]`, None when either is missing; InputError for one whose data are in another file.

    A name in the file may stand for a part of any other file that the user may read: HDF5 links, external storage and
    virtual data sets would bring it into a store.
    """
    import h5py

    if group is None or name not in group:
        return None
    elsewhere = isinstance(group.get(name, getlink=True), h5py.ExternalLink)
    found = None if elsewhere else group[name]
    if elsewhere or (isinstance(found, h5py.Dataset) and (found.external or found.is_virtual)):
        raise InputError(
            f"{group.file.filename}: {group.name.rstrip('/')}/{name} refers to another file, which is not read; copy "
            "the data into this file (h5repack, or h5py)"
        )
    return found


def _decode(features: Any, boxes: Any, where: Any, size: tuple[int, int], what: str) -> RegionFeatures:
    """The arrays of one image."""
    with _naming_damage(what):
        return RegionFeatures(features[where], None if boxes is None else boxes[where][:, :4], *size)
