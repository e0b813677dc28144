"""Hidden states of images and texts in a temporary file, so that memory does not grow with their number."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import numpy as np

from pyutils.errors import InputError


class StateStore:
    """Arrays `[n, width]` float32 by number, n of each its own, in a temporary file that `close` removes.

    `folder`: the file's directory (empty: the system's temporary directory). Raises InputError if it cannot be used.
    """

    def __init__(self, width: int, folder: str = ""):
        self.width, self._folder = width, folder or tempfile.gettempdir()
        try:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise InputError(f"scratch folder {self._folder}: {error.strerror}") from error
        self.clear()

    def clear(self) -> None:
        """Forget all arrays; their space in the file is used again."""
        self._end, self._offsets = 0, dict[int, tuple[int, int]]()

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def rows(self, number: int) -> int:
        """Return n of array `number`."""
        return self._offsets[number][1]

    def put(self, number: int, states: np.ndarray) -> None:
        """Store `states` `[n, width]`. Raises InputError when the disk is full."""
        data = np.ascontiguousarray(states, dtype=np.float32)
        try:
            self._file.seek(self._end)
            self._file.write(data.data)
        except OSError as error:
            raise InputError(
                f"{self._folder}: {error.strerror} after {self._end >> 20} MiB of states; set scratch to a folder with "
                "more free space"
            ) from error
        self._offsets[number] = (self._end, len(data))
        self._end += data.nbytes

    def padded(self, numbers: Sequence[int]) -> np.ndarray:
        """Stack arrays, `[len(numbers), longest, width]`, shorter ones padded with zeros."""
        states = np.zeros((len(numbers), max(map(self.rows, numbers)), self.width), dtype=np.float32)
        self._file.flush()
        for target, number in zip(states, numbers):
            start, count = self._offsets[number]
            os.preadv(self._file.fileno(), [target[:count].data], start)
        return states
