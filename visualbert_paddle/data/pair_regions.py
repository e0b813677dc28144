"""The regions of two images as one sequence, for NLVR2 (paper, section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyutils.data.features.inputs import RegionInputs


def pair_arrays(inputs: RegionInputs, left: Sequence[str], right: Sequence[str]) -> dict[str, np.ndarray]:
    """Regions of the left images, each followed at once by those of its right image; padding comes after both.

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
    places = np.arange(longest)
    mask = (places < totals[:, None]).astype(np.int64)
    types = (places >= counts[0][:, None]).astype(np.int64) * mask
    return {"region_features": features, "region_mask": mask, "region_token_type_ids": types}
