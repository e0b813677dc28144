"""Region batches of ViLBERT: global region first, boxes relative to the image.

Paper: arXiv 1908.02265, section 3.1. For grounding and VCR the regions of a second source, extracted at the annotated
("ground-truth") boxes, follow the detected ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Optional

import numpy as np

from pyutils.data.features import RegionBatch, RegionFeatures, RegionSource
from pyutils.data.features.inputs import RegionConfig, RegionInputs, RegionSourceConfig
from pyutils.data.features.source import HeldRegions
from pyutils.data.table import RecordTable
from pyutils.errors import InputError


def region_arrays(batch: RegionBatch) -> dict[str, np.ndarray]:
    """`region_features`, `region_mask` and `region_boxes` of a batch, see `vilbert_paddle.data`."""
    return {"region_features": batch.features, "region_mask": batch.mask, "region_boxes": batch.locations()}


class RegionReader:
    """Reads the regions of batches of images; row 0 of each array is the global region.

    Args:
        regions: the detected regions; `max_regions` excludes the global region (100 for the original's max_region_num
            of 101).
        dimension: feature dimension of the model.
        multiple: round the number of rows up to a multiple (8 on GPUs).
        annotated: regions of annotated boxes, where a task uses them.
        class_probs: require the detector's class distributions (pre-training).
    Raises:
        InputError: no features there, another dimension or detector, no boxes or no class distributions.
    """

    def __init__(
        self,
        regions: RegionConfig,
        dimension: int,
        multiple: int = 1,
        annotated: Optional[RegionSourceConfig] = None,
        class_probs: bool = False,
        image_input: str = "shown",
    ) -> None:
        self.inputs = RegionInputs(regions, dimension, multiple, image_input=image_input)
        self.inputs.require(boxes=True, class_probs=class_probs)
        self.annotated: Optional[RegionInputs] = None
        if annotated is not None and annotated.path:
            self.annotated = RegionInputs(RegionConfig(**vars(annotated)), dimension, multiple)
            self.annotated.require(boxes=True)
        self._class_probs = class_probs
        self._withheld = image_input == "withheld"

    def available(self, records: RecordTable, *fields: str, annotated: bool = False) -> RecordTable:
        """Select the records whose images, named by `fields`, have detected regions and, with `annotated`, annotated
        ones if these are read. Raises InputError for missing ones unless `missing` of that section is skip."""
        found = self.inputs.available(records, *fields)
        if not annotated or self.annotated is None:
            return found
        return self.annotated.available(found, *fields, section="annotated_regions")

    def read(self, keys: Sequence[str], keep_boxes: bool = False) -> RegionBatch:
        """Read the detected regions of images `keys` (one per row).

        An image without regions has its global region only, with a feature of zeros. Where images are withheld, a row
        is one global region of zeros; with `keep_boxes` all boxes stay and only the features are zero, so that a
        grounding task has something to choose from.

        Raises:
            InputError: a missing image, a broken entry or an impossible box.
        """
        if self._withheld and not keep_boxes:
            features = np.zeros((len(keys), 1, self.inputs.dimension), np.float32)
            boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (len(keys), 1, 1))
            return RegionBatch(features, np.ones((len(keys), 1), np.int64), boxes, np.ones((len(keys), 2), np.int64))
        config, multiple = self.inputs.config, self.inputs.multiple
        batch = _read(self.inputs.source, keys, keys, config.max_regions, multiple, self._class_probs)
        if self._withheld:
            batch.features[:] = 0
        return batch

    def read_mixed(
        self, keys: Sequence[str], keep: Literal["detected", "annotated"] = "detected"
    ) -> tuple[RegionBatch, np.ndarray]:
        """Read detected regions followed by annotated ones, at most `max_regions` in total after the global region.

        `keep`: which regions stay when there are more: "detected" cuts annotated ones at the end (the original's
        RefCOCO), "annotated" cuts detected ones (its VCR). The global region is the mean of the detected ones. With
        `image_input` withheld the features are zero while the boxes stay. Raises InputError as `read`.

        Returns the batch and the number of annotated regions that were cut, [b] int64.
        """
        assert self.annotated is not None
        own = self.annotated.source.read_batch(keys)
        _check_boxes(own, keys, self.annotated.source, first=0)
        most, multiple = self.inputs.config.max_regions + 1, self.inputs.multiple
        # Rows for the annotated regions are allocated with the batch, so that nothing is copied twice.
        batch = _read(self.inputs.source, keys, keys, most - 1, _round_up(most, multiple))
        counts, offered = batch.mask.sum(axis=1), own.mask.sum(axis=1)
        detected = counts
        if keep == "annotated":
            detected = np.minimum(counts, np.maximum(1, most - offered))
        taken = np.minimum(offered, most - detected)
        for row, (start, count, filled) in enumerate(zip(detected, taken, counts)):
            stop = start + count
            batch.features[row, start:stop] = own.features[row, :count]
            batch.boxes[row, start:stop] = own.boxes[row, :count]
            batch.features[row, stop:filled], batch.boxes[row, stop:filled] = 0, 0
        totals = detected + taken
        rows = min(batch.features.shape[1], _round_up(int(totals.max(initial=1)), multiple))
        mask = (np.arange(rows) < totals[:, None]).astype(np.int64)
        features = np.ascontiguousarray(batch.features[:, :rows])
        if self._withheld:
            features[:] = 0
        return RegionBatch(features, mask, batch.boxes[:, :rows], batch.sizes), offered - taken


def held_regions(
    images: Sequence[Optional[RegionFeatures]],
    names: Sequence[str],
    max_regions: int,
    multiple: int = 1,
    class_probs: bool = False,
) -> RegionBatch:
    """Arrange regions that are in memory, as pre-training shards carry them, like `RegionReader.read`.

    `names` appear in errors. Raises InputError for an image without regions, or as `RegionReader.read`.
    """
    for name, image in zip(names, images):
        if image is None:
            raise InputError(
                f"pair '{name}' has no regions: its shard needs an .npz beside the caption, or pretrain.features a path"
            )
    source = HeldRegions([image for image in images if image is not None], names)
    return _read(source, source.keys, names, max_regions, multiple, class_probs)


def _read(
    source: RegionSource,
    keys: Sequence[str],
    names: Sequence[str],
    max_regions: int,
    multiple: int,
    class_probs: bool = False,
) -> RegionBatch:
    """Read regions behind a global region and check their boxes; `names` of `keys` appear in errors."""
    batch = source.read_batch(keys, max_regions, multiple, global_region=True, class_probs=class_probs)
    _check_boxes(batch, names, source, first=1)
    return batch


def _check_boxes(batch: RegionBatch, names: Sequence[str], source: RegionSource, first: int) -> None:
    """Raise InputError for a box that is not of this image: not finite, right of its left edge, or entirely outside.

    Boxes without area and boxes that reach over the edge are usual in detections and stay as they are, as in the
    original. `first` is the first row to check: 1 skips the global region.
    """
    boxes, sizes = batch.boxes[:, first:], batch.sizes[:, None, :]
    if sizes.size and sizes.min() <= 0:
        unknown = names[int(np.flatnonzero(batch.sizes.min(axis=1) <= 0)[0])]
        raise InputError(
            f"{source.path}, image '{unknown}': the image size is unknown, and ViLBERT reads boxes relative to it; use "
            "features with image_w and image_h"
        )
    wrong = ~np.isfinite(boxes).all(axis=-1) | (boxes[..., :2] > boxes[..., 2:]).any(axis=-1)
    wrong |= (boxes[..., :2] > sizes).any(axis=-1) | (boxes[..., 2:] < 0).any(axis=-1)
    wrong &= batch.mask[:, first:].astype(bool)
    if wrong.any():
        row, region = np.argwhere(wrong)[0].tolist()
        width, height = batch.sizes[row].tolist()
        raise InputError(
            f"{source.path}, image '{names[row]}', region {region}: box {boxes[row, region].tolist()} is outside the "
            f"image of {width} x {height} pixels; expected left, top, right, bottom in pixels. Extract the features of "
            "this image again, or check all with `python -m pyutils.data.features verify`"
        )


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
