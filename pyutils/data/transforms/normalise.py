"""From 8-bit pixels to what a network takes in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Mean and standard deviation of the red, green and blue values (0-1) that ALBEF subtracts and divides by.
ALBEF_MEAN = (0.48145466, 0.4578275, 0.40821073)
ALBEF_STD = (0.26862954, 0.26130258, 0.27577711)


class Normalise:
    """(value / 255 - mean) / std of each channel, in float32.

    A channel has 256 values, so the results are looked up: every pixel gets exactly what the arithmetic gives.
    """

    def __init__(self, mean: Sequence[float] = ALBEF_MEAN, std: Sequence[float] = ALBEF_STD) -> None:
        unit = np.arange(256, dtype=np.float32) / np.float32(255)
        mean_column, std_column = (np.asarray(values, dtype=np.float32)[:, None] for values in (mean, std))
        self._tables = (unit[None, :] - mean_column) / std_column  # [channels, 256]

    def __call__(self, pixels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """[height, width, 3] uint8 to [3, height, width] float32, written to `out` when given (C-contiguous planes)."""
        height, width, channels = pixels.shape
        if out is None:
            out = np.empty((channels, height, width), dtype=np.float32)
        for channel, table in enumerate(self._tables):
            np.take(table, pixels[..., channel], out=out[channel], mode="clip")
        return out

    def restore(self, image: np.ndarray) -> np.ndarray:
        """The pixels of a normalised image, for pictures: [3, height, width] float32 to [height, width, 3] uint8."""
        nearest = [np.searchsorted((table[1:] + table[:-1]) / 2, plane) for table, plane in zip(self._tables, image)]
        return np.stack(nearest, axis=-1).astype(np.uint8)
