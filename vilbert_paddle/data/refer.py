"""Referring expressions of the RefCOCO family with boxes as targets (ViLBERT, arXiv 1908.02265, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyutils.config import setting
from pyutils.data.features import RegionBatch
from pyutils.data.records import ReferRecord
from pyutils.data.refer import Refer
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.safe_pickle import load_npy
from pyutils.metrics.grounding import THRESHOLD, box_iou, xyxy
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.data.regions import RegionReader, region_arrays
from vilbert_paddle.data.texts import text_batch

# Training references about images that another task tests on: the evaluation split of multi-task training.
MULTITASK_SPLIT = "mteval"


@dataclass(frozen=True)
class ReferConfig:
    """The `refer:` section of a configuration."""

    root: str = setting("data/referExpression", "Directory with one subdirectory per data set.")
    dataset: str = setting("refcoco+", "refcoco, refcoco+ or refcocog.")
    split_by: str = setting("", "unc, umd or google; empty: the default of the data set.")
    held_out_images: str = setting(
        "", "npy file of image ids, relative to root: test images of other tasks, excluded from training (12-in-1)."
    )


def read_refer_split(config: ReferConfig, split: str) -> RecordTable[ReferRecord]:
    """Read the sentences of `split`, one record each, in the order of the file.

    With `held_out_images`, "train" excludes these images, and the split "mteval" is the training sentences about them.

    Raises:
        InputError: an unknown split, or missing or damaged files (including a pickle with code in it).
    """
    refer = Refer(config.root, config.dataset, config.split_by or None)
    held_out = _held_out(config)
    if split == MULTITASK_SPLIT:
        if not config.held_out_images:
            raise InputError(f'split "{MULTITASK_SPLIT}" needs refer.held_out_images, an npy file of image ids')
        return refer.records("train", only_images=held_out)
    return refer.records(split, without_images=held_out if split == "train" else ())


def _held_out(config: ReferConfig) -> list[int]:
    if not config.held_out_images:
        return []
    path = Path(config.root).expanduser() / config.held_out_images
    ids = load_npy(path)
    if ids.dtype.kind not in "iu" or ids.ndim != 1:
        raise InputError(f"{path}: expected refer.held_out_images, a list of image ids; found {ids.dtype} {ids.shape}")
    return ids.tolist()


def refer_batch(
    records: Sequence[ReferRecord], tokenizer: WordPiece, reader: RegionReader, max_text: int, training: bool
) -> dict[str, np.ndarray]:
    """Collate expressions with the regions to choose from.

    Adds to the shared arrays `labels` [b, r] float32, the overlap of each region with the target box
    (`region_targets`), and `annotated_cut` [b] int64, annotated regions beyond `max_regions`. In training, regions of
    annotated boxes follow the detected ones, where the reader has a second source.
    """
    keys = [record.image for record in records]
    if training and reader.annotated is not None:
        regions, cut = reader.read_mixed(keys)
    else:
        regions, cut = reader.read(keys, keep_boxes=True), np.zeros(len(keys), np.int64)
    batch = text_batch(tokenizer, [record.expression for record in records], max_text, reader.inputs.multiple)
    batch.update(region_arrays(regions))
    batch["labels"] = region_targets(regions, np.array([record.box for record in records]), training)
    batch["annotated_cut"] = cut
    return batch


def region_targets(regions: RegionBatch, boxes: np.ndarray, training: bool) -> np.ndarray:
    """Compute the overlap of every region with its target box, [b, r] float32; 0 in the padding.

    `boxes` [b, 4] are left, top, width, height in pixels. Overlaps count whole pixels, as the original's do. In
    training, overlaps under 0.5 become 0; in evaluation they stay. The global region is included: it is a positive when
    the object fills the image.
    """
    right = xyxy(boxes).astype(np.float32)[:, None, :]  # [b, 1, 4]
    overlaps = box_iou(regions.boxes, right, pixels=True)[..., 0] * regions.mask
    if training:
        overlaps[overlaps < THRESHOLD] = 0
    return overlaps.astype(np.float32)
