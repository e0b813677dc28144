"""Masked regions (ViLBERT, arXiv 1908.02265, section 3.2) and negatives of the noise-contrastive objective (12-in-1).

Random numbers are arguments, as in `pyutils.text.masking`, so that tests can pass recorded ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyutils.errors import InputError
from pyutils.metrics.grounding import box_iou

_MASKED_SHARE = 0.15
_ZEROED_SHARE = 0.9
_SAME_THING = 0.4  # overlap above which a region shows what a masked one hides
_ACROSS, _INSIDE = 0.7, 0.3  # shares of negatives from other images and from the same one


@dataclass(frozen=True)
class MaskedRegions:
    """chosen [b, n] bool: regions whose content is predicted; hidden [b, n] bool: those whose features are zeroed
    (nine in ten of the chosen); covered [b, n] bool: regions that overlap a chosen one (IoU > 0.4), itself included."""

    chosen: np.ndarray
    hidden: np.ndarray
    covered: np.ndarray


def mask_regions(chance: np.ndarray, boxes: np.ndarray, mask: np.ndarray) -> MaskedRegions:
    """Choose regions to mask.

    Args:
        chance: [b, n] random numbers in [0, 1), one per region; a region is chosen below 0.15 and hidden below 0.9 of
            that.
        boxes: [b, n, 4] in pixels.
        mask: [b, n] 1 for a real region; padding is never chosen or covered.
    """
    real = np.asarray(mask).astype(bool)
    chosen = real & (chance < _MASKED_SHARE)
    hidden = chosen & (chance < _ZEROED_SHARE * _MASKED_SHARE)
    # Rows without a chosen region are usual in small batches: no overlaps are computed for them.
    rows = np.flatnonzero(chosen.any(axis=1))
    covered = np.zeros_like(chosen)
    overlaps = box_iou(boxes[rows], boxes[rows], pixels=True) > _SAME_THING  # [rows, n, n]
    covered[rows] = (overlaps & chosen[rows, :, None]).any(axis=1)
    return MaskedRegions(chosen, hidden, (covered | chosen) & real)


def global_region(features: np.ndarray, mask: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Compute the feature of the global region over masked regions: [b, d] float32.

    The sum of `features` [b, n, d] (hidden ones are zero) divided by the number of real regions that are not `covered`
    [b, n], by 1 when all are: the original's rule, under which the global feature grows where much is hidden. The
    original counts padded rows as well; here padding never matters, so that a pair's arrays do not depend on its batch.
    """
    visible = (np.asarray(mask).astype(bool) & ~covered).sum(axis=1)
    return features.sum(axis=1) / np.maximum(visible, 1)[:, None].astype(np.float32)


def region_negatives(rng: np.random.Generator, batch: int, regions: int, number: int = 128) -> np.ndarray:
    """Draw the negatives of the noise-contrastive objective, features of other regions.

    Returns flat indices `[batch, regions, n]` int64 into `[batch * regions]` regions, the global one left out. n is
    `int(0.7 number) + int(0.3 number)`: first regions of other images, then other regions of the same one. Every
    region, padding too, may be drawn.

    Raises:
        InputError: the batch has one image or one region.
    """
    if batch < 2 or regions < 2:
        raise InputError(f"pretrain.target nce needs two images and two regions; the batch has {batch} and {regions}")
    across, inside = int(_ACROSS * number), int(_INSIDE * number)
    return negatives_of_draws(
        rng.integers(0, batch - 1, (batch, regions, across)),
        rng.integers(0, regions, (batch, regions, across)),
        rng.integers(0, regions - 1, (batch, regions, inside)),
    )


def negatives_of_draws(rows: np.ndarray, columns: np.ndarray, columns_inside: np.ndarray) -> np.ndarray:
    """Turn random draws into the indices of `region_negatives`.

    `rows` `[B, R, a]` in [0, B - 2]: images, where a draw of the own one means the last; `columns` `[B, R, a]` in
    [0, R - 1] their regions; `columns_inside` `[B, R, i]` in [0, R - 2]: regions of the own image, where a draw of the
    own one means the last.
    """
    batch, regions, _ = rows.shape
    own_row, own_column = np.arange(batch).reshape(-1, 1, 1), np.arange(regions).reshape(1, -1, 1)
    others = np.where(rows == own_row, batch - 1, rows) * regions + columns
    inside = own_row * regions + np.where(columns_inside == own_column, regions - 1, columns_inside)
    return np.concatenate([others, inside], axis=2).astype("int64")
