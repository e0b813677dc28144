"""Grounding: overlap of boxes, accuracy at an overlap, and the pointing game."""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np

from pyutils.errors import InputError

THRESHOLD = 0.5


class GroundingScores(NamedTuple):
    """Of each expression: `chosen` [n] int64, the region with the highest score, and `iou` [n] float32, how much it
    overlaps the box that is meant; `accuracy`, the share of overlaps above the threshold, 0 to 1."""

    chosen: np.ndarray
    iou: np.ndarray
    accuracy: float


def box_iou(boxes: np.ndarray, others: np.ndarray, pixels: bool = False) -> np.ndarray:
    """Intersection over union of each box with each other box: [..., n, k] of `boxes` [..., n, 4] and `others`
    [..., k, 4], left, top, right, bottom. Leading dimensions broadcast; the result has the common float type.

    `pixels` counts the right and bottom edge as part of a box, one pixel more each way, as ViLBERT does for its
    targets. Boxes without area overlap nothing (0, never NaN); edges in the wrong order count as no area.
    """
    boxes, others = np.asarray(boxes)[..., :, None, :], np.asarray(others)[..., None, :, :]
    # [..., n, k, 2]: extent of the intersection in x and y
    shared = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2]) + int(pixels)
    inside = np.maximum(shared, 0).prod(axis=-1)
    union = _area(boxes, pixels) + _area(others, pixels) - inside
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


def _area(boxes: np.ndarray, pixels: bool) -> np.ndarray:
    return np.maximum(boxes[..., 2:] - boxes[..., :2] + int(pixels), 0).prod(axis=-1)


def xyxy(boxes: np.ndarray) -> np.ndarray:
    """COCO's boxes [..., 4] (left, top, width, height) as left, top, right, bottom."""
    boxes = np.asarray(boxes)
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def best_regions(scores: np.ndarray, mask: Optional[np.ndarray] = None) -> np.ndarray:
    """The region with the highest of `scores` [n, regions], [n] int64; of equal ones the first.

    Where `mask` [n, regions] is 0 (padding) a region cannot be chosen. Raises InputError when a row has no region or a
    score is not a number.
    """
    scores = np.asarray(scores)
    real = np.ones(scores.shape, dtype=bool) if mask is None else np.asarray(mask).astype(bool)
    if scores.ndim != 2 or real.shape != scores.shape:
        raise ValueError(f"scores {scores.shape} and mask {real.shape} must both be [n, regions]")
    if not real.any(axis=1).all():
        raise InputError(f"expression {int(np.flatnonzero(~real.any(axis=1))[0])} has no region to choose from")
    if np.isnan(scores[real]).any():
        raise InputError("a region's score is not a number: the model's weights are damaged or training diverged")
    return np.where(real, scores, -np.inf).argmax(axis=1)


def choose_regions(
    scores: np.ndarray, ious: np.ndarray, mask: Optional[np.ndarray] = None, threshold: float = THRESHOLD
) -> GroundingScores:
    """Accuracy of choosing the best region by `scores` [n, regions], given the overlaps `ious` [n, regions] of the
    regions with the right box; an overlap must be above `threshold` (Yu et al., ECCV 2016). 0 without expressions."""
    chosen = best_regions(scores, mask)
    iou = np.take_along_axis(np.asarray(ious), chosen[:, None], axis=1)[:, 0]
    return GroundingScores(chosen, iou, accuracy_at(iou, threshold))


def accuracy_at(ious: np.ndarray, threshold: float = THRESHOLD, inclusive: bool = False) -> float:
    """Share of `ious` [n] above `threshold`, 0 to 1, or with `inclusive` (ALBEF) also of those equal to it; 0 when
    there is none."""
    ious = np.asarray(ious)
    if not ious.size:
        return 0.0
    return float((ious >= threshold if inclusive else ious > threshold).mean())


def pointing_hits(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The pointing game (Zhang et al., ECCV 2016): whether each of `points` [n, 2] (x, y) lies in its box, [n] bool.

    `boxes` are [n, 4], left, top, right, bottom in the same units; points on the edge count.
    """
    points, boxes = np.asarray(points), np.asarray(boxes)
    return np.all((points >= boxes[:, :2]) & (points <= boxes[:, 2:]), axis=1)


def peaks(maps: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Where each heat map [n, rows, columns] is highest, as points [n, 2] float64 (x, y) in pixels of pictures of the
    given sizes ([n] each): the middle of the map's cell; of equal cells the first in reading order."""
    maps = np.asarray(maps)
    rows, columns = maps.shape[1:]
    cells = maps.reshape(len(maps), -1).argmax(axis=1)
    x, y = cells % columns + 0.5, cells // columns + 0.5
    return np.stack([x / columns * np.asarray(widths), y / rows * np.asarray(heights)], axis=1)
