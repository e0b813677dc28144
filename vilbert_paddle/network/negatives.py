"""Negatives of the noise-contrastive region objective: features of other regions. NumPy only, for data workers."""

from __future__ import annotations

import numpy as np

ACROSS, INSIDE = 0.7, 0.3  # shares of negatives from other pictures and from the region's own


def region_negatives(rng: np.random.Generator, batch: int, regions: int, number: int = 128) -> np.ndarray:
    """Flat indices `[batch, regions, n]` int64 into `[batch * regions]` regions, the global one left out.

    n is `int(0.7 number) + int(0.3 number)`: first regions of other pictures, then other regions of the same one. Every
    region, padding too, may be drawn. ValueError when there is no other picture or no other region.
    """
    if batch < 2 or regions < 2:
        raise ValueError(f"negatives need two pictures and two regions; the batch has {batch} and {regions}")
    across, inside = int(ACROSS * number), int(INSIDE * number)
    return negatives_of_draws(
        rng.integers(0, batch - 1, (batch, regions, across)),
        rng.integers(0, regions, (batch, regions, across)),
        rng.integers(0, regions - 1, (batch, regions, inside)),
    )


def negatives_of_draws(rows: np.ndarray, columns: np.ndarray, columns_inside: np.ndarray) -> np.ndarray:
    """The indices that draws mean, see `region_negatives`.

    `rows` `[B, R, a]` in [0, B - 2]: pictures, the own one standing for the last; `columns` `[B, R, a]` in [0, R - 1]
    their regions; `columns_inside` `[B, R, i]` in [0, R - 2]: regions of the own picture, the own one standing for the
    last.
    """
    batch, regions, _ = rows.shape
    own_row, own_column = np.arange(batch).reshape(-1, 1, 1), np.arange(regions).reshape(1, -1, 1)
    others = np.where(rows == own_row, batch - 1, rows) * regions + columns
    inside = own_row * regions + np.where(columns_inside == own_column, regions - 1, columns_inside)
    return np.concatenate([others, inside], axis=2).astype("int64")
