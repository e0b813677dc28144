"""Grounding: IoU of boxes, accuracy at an IoU threshold, the pointing game, and recall of phrases (Entities)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyutils.errors import InputError

THRESHOLD = 0.5
RECALL_AT = (1, 5, 10)
NEVER = -1


def box_iou(boxes: np.ndarray, others: np.ndarray, pixels: bool = False) -> np.ndarray:
    """Return the intersection over union [..., n, k] of `boxes` [..., n, 4] with `others` [..., k, 4].

    Boxes are left, top, right, bottom. Leading dimensions broadcast; the result has the common float type. `pixels`
    counts the right and bottom edges as part of a box (one pixel wider and higher), as ViLBERT does for its targets.
    Boxes without area, or with edges in the wrong order, overlap nothing (0, never NaN).
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
    """Convert COCO boxes [..., 4] (left, top, width, height) to left, top, right, bottom."""
    boxes = np.asarray(boxes)
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def best_regions(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the region with the highest of `scores` [n, regions] in each row, [n] int64; of equal ones the first.

    Where `mask` [n, regions] is 0 (padding) a region cannot be chosen. Raises InputError when a row has no region or a
    score is not a number.
    """
    real = mask.astype(bool)
    if not real.any(axis=1).all():
        raise InputError(f"expression {int(np.flatnonzero(~real.any(axis=1))[0])} has no region to choose from")
    if np.isnan(scores[real]).any():
        raise InputError("a region's score is not a number: the model's weights are damaged or training diverged")
    return np.where(real, scores, -np.inf).argmax(axis=1)


def accuracy_at(ious: np.ndarray, threshold: float = THRESHOLD, inclusive: bool = False) -> float:
    """Return the share of `ious` [n] above `threshold` (Yu et al., ECCV 2016), 0 to 1; 0 when there are none.

    `inclusive` (ALBEF) also counts those equal to it.
    """
    if not ious.size:
        return 0.0
    return float((ious >= threshold if inclusive else ious > threshold).mean())


def pointing_hits(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Play the pointing game (Zhang et al., ECCV 2016): [n] bool, True where the point is in its box.

    `points` are [n, 2] (x, y), `boxes` [n, 4] (left, top, right, bottom) in the same units; points on the edge count.
    """
    return np.all((points >= boxes[:, :2]) & (points <= boxes[:, 2:]), axis=1)


def peaks(maps: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Return the highest point of each heat map [n, rows, columns] as [n, 2] float64 (x, y) in pixels.

    `widths` and `heights` [n] are the sizes of the images. The point is the centre of the cell; of equal cells the
    first in reading order.
    """
    rows, columns = maps.shape[1:]
    cells = maps.reshape(len(maps), -1).argmax(axis=1)
    x, y = cells % columns + 0.5, cells // columns + 0.5
    return np.stack([x / columns * widths, y / rows * heights], axis=1)


def first_hits(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the rank of the first right region of each phrase, [p] int64 from 0; `NEVER` where none is right.

    `scores` [p, r] float, higher is better, of equal ones the first; `right` [p, r] bool.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(right, order, axis=1)
    return np.where(ranked.any(axis=1), ranked.argmax(axis=1), NEVER).astype(np.int64)


def phrase_recall(hits: np.ndarray, counts: Sequence[int] = RECALL_AT) -> dict[str, float]:
    """Return `recall@k`, the share of phrases with a right region among the first k, and `upper_bound`, with any.

    `hits` [p] as `first_hits` returns them. Shares from 0 to 1. Raises InputError when there is no phrase.
    """
    hits = np.asarray(hits)
    if not hits.size:
        raise InputError("phrase grounding of a split without phrases that have a box")
    found = {f"recall@{count}": float(((hits != NEVER) & (hits < count)).mean()) for count in counts}
    return {**found, "upper_bound": float((hits != NEVER).mean())}
