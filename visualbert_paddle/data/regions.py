"""Regions of two images as one sequence, for NLVR2 (paper, section 4.3); overlaps of annotated boxes with regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyutils.data.features.inputs import RegionInputs
from pyutils.data.records import BoxXYXY
from pyutils.metrics.grounding import box_iou


def pair_arrays(inputs: RegionInputs, left: Sequence[str], right: Sequence[str]) -> dict[str, np.ndarray]:
    """Join the regions of the left images with those of their right images; padding follows both.

    Returns `region_features` `[b, r, d]` float32, `region_mask` `[b, r]` int64 and `region_token_type_ids` `[b, r]`
    int64: 0 for the left image and for padding, 1 for the right image.
    """
    pairs = len(left)
    both = inputs.read([*left, *right])
    counts = both.mask.sum(axis=1).reshape(2, pairs)
    totals = counts.sum(axis=0)
    longest = max(1, -(-int(totals.max()) // inputs.multiple) * inputs.multiple)
    features = np.zeros((pairs, longest, both.features.shape[2]), dtype=np.float32)
    for row, (first, total) in enumerate(zip(counts[0], totals)):
        features[row, :first] = both.features[row, :first]
        features[row, first:total] = both.features[pairs + row, : total - first]
    columns = np.arange(longest)
    mask = (columns < totals[:, None]).astype(np.int64)
    types = (columns >= counts[0][:, None]).astype(np.int64) * mask
    return {"region_features": features, "region_mask": mask, "region_token_type_ids": types}


def overlaps(
    boxes: Sequence[BoxXYXY], size: tuple[int, int], regions: np.ndarray, regions_size: Sequence[int]
) -> np.ndarray:
    """IoU `[k, r]` float64 of annotated boxes with `regions` `[r, 4]`.

    `boxes` in pixels of an image of `size` (width, height), `regions` in pixels of one of `regions_size` (0, 0
    where the features do not have it: the same).
    """
    scale = [new / old if new and old else 1.0 for new, old in zip(regions_size, size)]
    return box_iou(np.asarray(boxes, dtype=np.float64) * np.array(scale * 2), regions.astype(np.float64))
