"""The regions of a batch as ViLBERT reads them: global region first, boxes relative to the picture.

Paper: arXiv 1908.02265, section 3.1. For grounding and VCR the regions of a second source, cut out at the annotated
("ground-truth") boxes, are put behind the detected ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Optional

import numpy as np

from pyutils.data.features import RegionBatch, RegionFeatures, RegionSource, normalise_boxes
from pyutils.data.features.inputs import RegionConfig, RegionInputs, RegionSourceConfig
from pyutils.data.features.source import HeldRegions
from pyutils.data.table import RecordTable
from pyutils.errors import InputError

Keep = Literal["detected", "annotated"]


@dataclass(frozen=True)
class Pictures:
    """The regions of a batch.

    features [b, r, d] float32, mask [b, r] int64, pixels [b, r, 4] float32 (left, top, right, bottom), sizes [b, 2]
    int64 (width, height), class_probs [b, r, classes] float32 or None; row 0 of each is the global region.
    detected [b] int64: rows of detected regions, the global one included; the annotated ones follow.
    cut [b] int64: annotated regions that found no room.
    """

    features: np.ndarray
    mask: np.ndarray
    pixels: np.ndarray
    sizes: np.ndarray
    detected: np.ndarray
    cut: np.ndarray
    class_probs: Optional[np.ndarray] = None

    def arrays(self) -> dict[str, np.ndarray]:
        """`region_features`, `region_mask` and `region_boxes` of a batch, see `vilbert_paddle.data`."""
        boxes = normalise_boxes(self.pixels, self.sizes)
        return {"region_features": self.features, "region_mask": self.mask, "region_boxes": boxes}


class RegionReader:
    """Reads the regions of batches of pictures.

    Args:
        regions: the detected regions; `max_regions` is without the global region (100 for the original's
            max_region_num of 101).
        dimension: feature dimension that the model expects.
        multiple: round the rows of a batch up to a multiple (8 on GPUs).
        annotated: regions of annotated boxes, where a task uses them.
        class_probs: require the detector's class distributions (pre-training).
    Raises:
        InputError: nothing there, features of another dimension or detector, or without boxes or class distributions.
    """

    def __init__(
        self,
        regions: RegionConfig,
        dimension: int,
        multiple: int = 1,
        annotated: Optional[RegionSourceConfig] = None,
        class_probs: bool = False,
    ) -> None:
        self.inputs = RegionInputs(regions, dimension, multiple)
        self.inputs.source.check(boxes=True, class_probs=class_probs)
        self._annotated: Optional[RegionInputs] = None
        if annotated is not None and annotated.path:
            self._annotated = RegionInputs(RegionConfig(**vars(annotated)), dimension, multiple)
            self._annotated.source.check(boxes=True)
        self._class_probs = class_probs

    @property
    def annotated(self) -> Optional[RegionSource]:
        """Regions of annotated boxes, if there are any."""
        return self._annotated.source if self._annotated else None

    def available(self, records: RecordTable, *fields: str, annotated: bool = False) -> RecordTable:
        """The records whose images, named by `fields`, have detected regions and, where `annotated` ones are read too,
        these; what is missing goes by `missing` of either section. InputError as `keep_available`."""
        found = self.inputs.available(records, *fields)
        if not annotated or self._annotated is None:
            return found
        return self._annotated.available(found, *fields, section="annotated_regions")

    def read(self, keys: Sequence[str], keep_boxes: bool = False) -> Pictures:
        """The detected regions of pictures `keys` (one a row). A picture without any has its global region only, with
        a feature of zeros. Raises InputError for a missing picture, a broken entry or an impossible box.

        With `picture: withheld` a row is one global region of zeros; with `keep_boxes` all boxes stay and only the
        features are zero, so that a grounding task has something to choose from.
        """
        if self._withheld and not keep_boxes:
            return self._blank(len(keys))
        batch = read_with_global(self.inputs.source, keys, self._limit, self.inputs.multiple, self._class_probs)
        if self._withheld:
            batch.features[:] = 0
        detected, cut = batch.mask.sum(axis=1), np.zeros(len(keys), np.int64)
        return Pictures(batch.features, batch.mask, batch.boxes, batch.sizes, detected, cut, batch.class_probs)

    def read_mixed(self, keys: Sequence[str], keep: Keep = "detected") -> Pictures:
        """Detected regions followed by annotated ones, together at most `max_regions` and the global region.

        `keep` says which stay when there is no room for all: "detected" cuts annotated ones at the end (the original's
        RefCOCO), "annotated" cuts detected ones (its VCR). The global region is the mean of the detected ones.
        With `picture: withheld` the features are zero while the boxes stay. Raises InputError as `read`, and when there
        is no second source.
        """
        if self.annotated is None:
            raise InputError("regions of annotated boxes are needed: set the path of annotated_regions")
        own = self.annotated.read_batch(keys)
        check_boxes(own, keys, self.annotated, first=0)
        # Rows for the annotated regions are allocated with the batch, so that nothing is copied twice.
        room = _round_up(self._limit + 1, self.inputs.multiple)
        batch = read_with_global(self.inputs.source, keys, self._limit, room)
        counts, offered = batch.mask.sum(axis=1), own.mask.sum(axis=1)
        detected = counts
        if keep == "annotated":
            detected = np.minimum(counts, np.maximum(1, self._limit + 1 - offered))
        taken = np.minimum(offered, self._limit + 1 - detected)
        for row, (start, count, filled) in enumerate(zip(detected, taken, counts)):
            stop = start + count
            batch.features[row, start:stop] = own.features[row, :count]
            batch.boxes[row, start:stop] = own.boxes[row, :count]
            batch.features[row, stop:filled], batch.boxes[row, stop:filled] = 0, 0
        return self._shortened(batch, detected, taken, offered - taken)

    @property
    def _limit(self) -> int:
        return self.inputs.config.max_regions

    @property
    def _withheld(self) -> bool:
        return self.inputs.config.picture == "withheld"

    def _shortened(self, batch: RegionBatch, detected: np.ndarray, taken: np.ndarray, cut: np.ndarray) -> Pictures:
        """The filled batch with as many rows as its longest picture needs."""
        filled = detected + taken
        rows = min(batch.features.shape[1], _round_up(int(filled.max(initial=1)), self.inputs.multiple))
        mask = (np.arange(rows) < filled[:, None]).astype(np.int64)
        features = np.ascontiguousarray(batch.features[:, :rows])
        if self._withheld:
            features[:] = 0
        return Pictures(features, mask, batch.boxes[:, :rows], batch.sizes, detected, cut)

    def _blank(self, count: int) -> Pictures:
        """Global regions of zeros: what a model sees that is not shown the picture."""
        pixels = np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1, 1))
        ones = np.ones((count, 1), np.int64)
        features = np.zeros((count, 1, self.inputs.dimension), np.float32)
        return Pictures(features, ones, pixels, np.ones((count, 2), np.int64), ones[:, 0], np.zeros(count, np.int64))


def held_images(
    images: Sequence[Optional[RegionFeatures]],
    keys: Sequence[str],
    max_regions: int,
    multiple: int = 1,
    class_probs: bool = False,
) -> Pictures:
    """The regions of pictures that are in memory already (pre-training shards bring theirs), as `RegionReader.read`
    gives them; `keys` name them in errors. Raises InputError for a picture without regions of its own."""
    bare = [key for key, image in zip(keys, images) if image is None]
    if bare:
        raise InputError(
            f"pair '{bare[0]}' brings no regions: its shard needs an .npz beside the caption, or a store of region "
            "features must be named"
        )
    source = HeldRegions([image for image in images if image is not None], keys)
    batch = source.read_batch(source.keys, max_regions, multiple, global_region=True, class_probs=class_probs)
    check_boxes(batch, keys, source, first=1)
    detected, cut = batch.mask.sum(axis=1), np.zeros(len(images), np.int64)
    return Pictures(batch.features, batch.mask, batch.boxes, batch.sizes, detected, cut, batch.class_probs)


def read_with_global(
    source: RegionSource, keys: Sequence[str], max_regions: int, multiple: int = 1, class_probs: bool = False
) -> RegionBatch:
    """Regions of `keys` behind a global region, boxes checked. Raises InputError as `RegionReader.read`."""
    batch = source.read_batch(keys, max_regions, multiple, global_region=True, class_probs=class_probs)
    check_boxes(batch, keys, source, first=1)
    return batch


def check_boxes(batch: RegionBatch, keys: Sequence[str], source: RegionSource, first: int) -> None:
    """InputError for a box that is not of this picture: not finite, turned round, or wholly outside.

    Boxes without area and boxes that reach over the edge are usual in detections and stay as they are, as in the
    original. `first` is the first row to look at: 1 leaves the global region out.
    """
    boxes, sizes = batch.boxes[:, first:], batch.sizes[:, None, :]
    if sizes.size and sizes.min() <= 0:
        unknown = keys[int(np.flatnonzero(batch.sizes.min(axis=1) <= 0)[0])]
        raise InputError(
            f"{source.path}, image '{unknown}': the size of the picture is not known, and ViLBERT reads boxes relative "
            "to it; give features that carry image_w and image_h"
        )
    wrong = ~np.isfinite(boxes).all(axis=-1) | (boxes[..., :2] > boxes[..., 2:]).any(axis=-1)
    wrong |= (boxes[..., :2] > sizes).any(axis=-1) | (boxes[..., 2:] < 0).any(axis=-1)
    wrong &= batch.mask[:, first:].astype(bool)
    if not wrong.any():
        return
    row, region = (int(places[0]) for places in np.nonzero(wrong))
    width, height = batch.sizes[row].tolist()
    raise InputError(
        f"{source.path}, image '{keys[row]}', region {region}: the box {boxes[row, region].tolist()} does not lie in a "
        f"picture of {width} x {height} pixels; expected left, top, right, bottom in pixels. Extract this image again, "
        "or check with `python -m pyutils.data.features`"
    )


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
