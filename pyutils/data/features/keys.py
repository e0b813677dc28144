"""A compact index of image keys: sorted bytes in one NumPy array, found by binary search, shared by forked workers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import Optional

import numpy as np

from pyutils.data.image_listing import same_folders
from pyutils.errors import InputError

# A plain number with leading zeros is a text of its own ("007" is not "7"), unless it has COCO's twelve digits.
_NUMERIC = re.compile(r"^(?:COCO_[A-Za-z0-9]+_0*|(?=\d{12}$)0*|(?=0$|[1-9]))(\d{1,18})$")
_SUFFIX = re.compile(r"\.(?:jpg|jpeg|png|bmp|gif|webp|npy|npz)$", re.IGNORECASE)


def stem_of(key: str) -> str:
    """Remove folders and image or array suffixes from a key: `train2014/COCO_x.jpg.npz` → `COCO_x`.

    Only known suffixes are removed, because image names may contain dots.
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

    A key is found by its exact text, else by its stem, else by its COCO number, so that `COCO_val2014_000000262148`,
    `val2014/COCO_val2014_000000262148.jpg` and `262148` all find the same entry. Folders must agree as far as both keys
    have them: `dog/001` never finds `cat/001`.

    Args:
        keys: [entries] fixed-width bytes, sorted, without repetition (UTF-8).
        where: what to name in errors.
        paths: [entries] bytes, the keys with their folders, where the keys are without.
    """

    def __init__(self, keys: np.ndarray, where: str, paths: Optional[np.ndarray] = None) -> None:
        self.keys = keys
        self.where = where
        self.paths = keys if paths is None else paths

    @staticmethod
    def sort(keys: Sequence[str] | Sequence[bytes], where: str) -> tuple[KeyIndex, np.ndarray]:
        """Index unsorted keys; returns it and `order`, where `keys[order[i]]` is the i-th key of the index.

        Raises:
            InputError: a key occurs twice.
        """
        array = as_bytes(keys)
        order = np.argsort(array, kind="stable")
        array = array[order]
        repeated = np.flatnonzero(array[1:] == array[:-1])
        if len(repeated):
            name = array[repeated[0]].decode(errors="backslashreplace")
            raise InputError(f"{where}: key '{name}' occurs twice; open the folder or file of one feature set")
        return KeyIndex(array, where), order

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[str]:
        return map(self._text, self.keys)

    def name(self, position: int) -> str:
        """The key at a position."""
        return self._text(self.keys[position])

    def _text(self, key: bytes) -> str:
        try:
            return key.decode()
        except UnicodeDecodeError:
            raise InputError(f"{self.where}: key {bytes(key)!r} is not UTF-8; write the keys again as UTF-8") from None

    def find(self, keys: Iterable[str | int]) -> np.ndarray:
        """Find the positions of keys: [keys] int64, -1 for a missing key.

        Raises:
            InputError: a stem or a number matches several entries.
        """
        wanted = [str(key) for key in keys]
        found = _search(self.keys, as_bytes(wanted))
        for row in np.flatnonzero(found < 0):
            found[row] = self._find_loosely(wanted[row])
        return found

    @cached_property
    def _stems(self) -> tuple[np.ndarray, np.ndarray]:
        """(sorted stems, their positions in the index)."""
        stems = as_bytes([stem_of(stored) for stored in self])
        order = np.argsort(stems, kind="stable")
        return stems[order], order

    @cached_property
    def _numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """(sorted COCO numbers, their positions in the index)."""
        numbers = np.fromiter((numeric_id(stored) for stored in self), dtype=np.int64, count=len(self.keys))
        order = np.argsort(numbers, kind="stable")
        return numbers[order], order

    def _find_loosely(self, key: str) -> int:
        """The position of the entry with the same stem or the same COCO number, or -1."""
        position = self._only(self._stems, as_bytes([stem_of(key)])[0], key)
        number = numeric_id(key)
        return self._only(self._numbers, number, key) if position < 0 <= number else position

    def _only(self, ordered: tuple[np.ndarray, np.ndarray], value: bytes | int, key: str) -> int:
        """The only position whose value is `value`, -1 when there is none; InputError when there are several."""
        values, order = ordered
        if isinstance(value, bytes) and len(value) > values.dtype.itemsize:
            return -1
        first, last = np.searchsorted(values, value, "left"), np.searchsorted(values, value, "right")
        fitting = [int(position) for position in order[first:last] if same_folders(key, self.paths[position].decode())]
        if len(fitting) > 1:
            names = ", ".join(map(self.name, fitting[:3]))
            raise InputError(f"{self.where}: '{key}' matches {len(fitting)} entries ({names}): use their full keys")
        return fitting[0] if fitting else -1


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
