"""States of images and texts in a temporary file, so that memory does not grow with the gallery."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import numpy as np

from pyutils.errors import InputError


class StateStore:
    """Arrays `[n, width]` float32 by number, each of its own n, in a file that vanishes with the object.

    `folder`: where the file lies (empty: the system's temporary folder). Use it as a context manager.
    """

    def __init__(self, width: int, folder: str = ""):
        self.width = width
        try:
            self._file = tempfile.TemporaryFile(dir=folder or None)  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise InputError(f"scratch folder {folder or tempfile.gettempdir()}: {error.strerror}") from error
        self._folder, self._end = folder or tempfile.gettempdir(), 0
        self._places: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> StateStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def rows(self, number: int) -> int:
        """n of array `number`."""
        return self._places[number][1]

    def put(self, number: int, states: np.ndarray) -> None:
        """Keep `states` `[n, width]`. InputError when the disk is full."""
        data = np.ascontiguousarray(states, dtype=np.float32)
        try:
            self._file.seek(self._end)
            self._file.write(data.data)
        except OSError as error:
            raise InputError(
                f"{self._folder}: {error.strerror} after {self._end >> 20} MiB of states; set scratch to a folder with "
                "more room"
            ) from error
        self._places[number] = (self._end, len(data))
        self._end += data.nbytes

    def get(self, number: int) -> np.ndarray:
        """Array `number`, `[n, width]`."""
        return self.padded([number])[0]

    def padded(self, numbers: Sequence[int]) -> np.ndarray:
        """Arrays side by side, `[len(numbers), longest, width]`, zeros at the ends of shorter ones."""
        longest = max(self.rows(number) for number in numbers)
        states = np.zeros((len(numbers), longest, self.width), dtype=np.float32)
        self._file.flush()
        for target, number in zip(states, numbers):
            start, count = self._places[number]
            os.preadv(self._file.fileno(), [target[:count].data], start)
        return states
