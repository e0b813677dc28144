"""A compact index of image keys: sorted bytes in one NumPy array, found by binary search, shared by forked workers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np

from pyutils.errors import InputError

_NUMERIC = re.compile(r"^(?:COCO_[A-Za-z0-9]+_)?0*(\d{1,18})$")
_SUFFIX = re.compile(r"\.(?:jpg|jpeg|png|bmp|gif|webp|npy|npz)$", re.IGNORECASE)


def stem_of(key: str) -> str:
    """The key without folders and image or array suffixes: `train2014/COCO_x.jpg.npz` → `COCO_x`.

    Only known suffixes are cut, because image names may hold dots of their own.
    """
    name = PurePosixPath(key.replace("\\", "/")).name
    while True:
        shorter = _SUFFIX.sub("", name)
        if shorter == name or not shorter:
            return name
        name = shorter


def numeric_id(key: str) -> int:
    """The image number in a COCO file name or a plain number, -1 when there is none."""
    match = _NUMERIC.match(stem_of(key))
    return int(match.group(1)) if match else -1


class KeyIndex:
    """Positions of keys in a source.

    A key is found as it is, else by its stem, else by its COCO number, so that `COCO_val2014_000000262148`,
    `val2014/COCO_val2014_000000262148.jpg` and `262148` all find the same entry.

    Args:
        keys: [entries] fixed-width bytes, sorted, without repetition (UTF-8).
        where: what to name in errors.
    """

    def __init__(self, keys: np.ndarray, where: str) -> None:
        self.keys = keys
        self.where = where
        self._stems: tuple[np.ndarray, np.ndarray] | None = None
        self._numbers: tuple[np.ndarray, np.ndarray] | None = None

    @staticmethod
    def sort(keys: Sequence[str] | Sequence[bytes], where: str) -> tuple[KeyIndex, np.ndarray]:
        """An index of unsorted keys, and `order` with `keys[order[i]]` = the i-th key of the index.

        Raises InputError when a key occurs twice.
        """
        array = as_bytes(keys)
        order = np.argsort(array, kind="stable")
        array = array[order]
        repeated = np.flatnonzero(array[1:] == array[:-1])
        if len(repeated):
            raise InputError(f"{where}: key '{array[repeated[0]].decode()}' occurs twice")
        return KeyIndex(array, where), order

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key in self.keys)

    def name(self, position: int) -> str:
        """The key at a position."""
        return self.keys[position].decode()

    def find(self, keys: Iterable[str | int]) -> np.ndarray:
        """[keys] int64 positions, -1 for a key that is not there.

        Raises InputError when a stem or a number fits several entries.
        """
        wanted = [str(key) for key in keys]
        found = _search(self.keys, as_bytes(wanted))
        for place in np.flatnonzero(found < 0):
            found[place] = self._find_loosely(wanted[place])
        return found

    def _find_loosely(self, key: str) -> int:
        """The position of the entry with the same stem or the same COCO number, or -1."""
        if not len(self.keys):
            return -1
        if self._stems is None:
            stems = as_bytes([stem_of(stored) for stored in self])
            order = np.argsort(stems, kind="stable")
            self._stems = stems[order], order
        position = self._only(self._stems, as_bytes([stem_of(key)])[0], key)
        if position >= 0:
            return position
        number = numeric_id(key)
        if number < 0:
            return -1
        if self._numbers is None:
            numbers = np.fromiter((numeric_id(stored) for stored in self), dtype=np.int64, count=len(self.keys))
            order = np.argsort(numbers, kind="stable")
            self._numbers = numbers[order], order
        return self._only(self._numbers, number, key)

    def _only(self, ordered: tuple[np.ndarray, np.ndarray], value: bytes | int, key: str) -> int:
        """The one position whose value is `value`, -1 when none; InputError when there are several."""
        values, order = ordered
        if isinstance(value, bytes) and len(value) > values.dtype.itemsize:
            return -1
        first, last = np.searchsorted(values, value, "left"), np.searchsorted(values, value, "right")
        if last - first > 1:
            fitting = ", ".join(self.name(position) for position in order[first:last][:3])
            raise InputError(f"{self.where}: '{key}' fits {last - first} entries ({fitting}): use their full keys")
        return int(order[first]) if last > first else -1


def as_bytes(keys: Sequence[str] | Sequence[bytes]) -> np.ndarray:
    """Keys as fixed-width UTF-8 bytes."""
    if not len(keys):
        return np.empty(0, dtype="S1")
    return np.array([key.encode() if isinstance(key, str) else key for key in keys], dtype=np.bytes_)


def _search(stored: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Positions of `wanted` in the sorted array `stored`, -1 where absent."""
    found = np.full(len(wanted), -1, dtype=np.int64)
    if not len(stored) or not len(wanted):
        return found
    # Comparing arrays of different widths would copy the whole index to the wider one: only fitting keys are compared.
    fits = np.char.str_len(wanted) <= stored.dtype.itemsize
    shaped = wanted[fits].astype(stored.dtype)
    positions = np.minimum(np.searchsorted(stored, shaped), len(stored) - 1)
    found[fits] = np.where(stored[positions] == shaped, positions, -1)
    return found
