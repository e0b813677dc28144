"""From identifiers to rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Union

import numpy as np

from pyutils.errors import InputError

#: One identifier, several, or None for no restriction.
Ids = Union[int, Collection[int], None]


class IdIndex:
    """Rows of identifiers, by binary search."""

    def __init__(self, values: np.ndarray, what: str, path: str) -> None:
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]
        self._what, self._path = what, path

    def rows(self, ids: Ids) -> np.ndarray:
        """Rows of `ids`, in their order. Raises InputError naming the first that is not there."""
        wanted = as_ids(ids)
        places = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        lost = self._sorted[places] != wanted
        if lost.any():
            raise InputError(f"{self._path}: there is no {self._what} {wanted[lost][0]} ({lost.sum()} not found)")
        return self._order[places]


def as_ids(ids: int | Iterable[int]) -> np.ndarray:
    """Identifiers as int64; a single one becomes an array of one. Raises InputError for what is not a whole number."""
    values = np.atleast_1d(np.asarray(ids if isinstance(ids, (int, str, np.ndarray)) else list(ids)))
    if values.size and values.dtype.kind not in "iu":
        raise InputError(f"identifiers are whole numbers; found {values.reshape(-1).tolist()[0]!r}")
    return values.astype(np.int64).reshape(-1)
