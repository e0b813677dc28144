"""Masked regions, and which pairs train which objective (ViLBERT, arXiv 1908.02265, section 3.2).

As in `pyutils.text.masking`, random numbers are values apart from their use: `draw_regions` takes them from a
generator, a test hands in recorded ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyutils.metrics.grounding import box_iou

MASKED_SHARE = 0.15
_ZEROED_SHARE = 0.9
_SAME_THING = 0.4  # overlap above which a region shows what a masked one hides


@dataclass(frozen=True)
class MaskedRegions:
    """chosen [b, n] bool: regions whose content is to be predicted; hidden [b, n] bool: those whose features are zeroed
    (nine in ten of the chosen); covered [b, n] bool: regions that overlap a chosen one (IoU > 0.4), itself included."""

    chosen: np.ndarray
    hidden: np.ndarray
    covered: np.ndarray


def mask_regions(
    chance: np.ndarray, pixels: np.ndarray, mask: np.ndarray, probability: float = MASKED_SHARE
) -> MaskedRegions:
    """Choose regions to hide.

    Args:
        chance: [b, n] random numbers in [0, 1), one a region; a region is chosen where it is under `probability`, and
            hidden where chance / probability < 0.9.
        pixels: [b, n, 4] boxes in pixels.
        mask: [b, n] 1 for a real region; padding is never chosen or covered.
        probability: share of regions to choose.
    """
    real = np.asarray(mask).astype(bool)
    chosen = real & (chance < probability)
    hidden = chosen & (chance < _ZEROED_SHARE * probability)
    # Rows without a chosen region are usual in small batches: no overlaps are computed for them.
    rows = np.flatnonzero(chosen.any(axis=1))
    covered = np.zeros_like(chosen)
    overlaps = box_iou(pixels[rows], pixels[rows], pixels=True) > _SAME_THING  # [rows, n, n]
    covered[rows] = (overlaps & chosen[rows, :, None]).any(axis=1)
    return MaskedRegions(chosen, hidden, (covered | chosen) & real)


def global_region(features: np.ndarray, mask: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The feature of the global region over masked regions: [b, d] float32.

    The sum of `features` [b, n, d] (hidden ones are zero) divided by the number of real regions that are not `covered`
    [b, n], by 1 when all are: the original's rule, under which the global feature grows where much is hidden. The
    original counts padded rows as well; here padding never matters, so that a pair's arrays do not depend on its batch.
    """
    visible = (np.asarray(mask).astype(bool) & ~covered).sum(axis=1)
    return features.sum(axis=1) / np.maximum(visible, 1)[:, None].astype(np.float32)
