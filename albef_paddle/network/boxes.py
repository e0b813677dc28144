"""Choosing a detected box by a heat map (arXiv 2107.07651, section 6.4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F

AREA_POWER = 0.5


class Chosen(NamedTuple):
    """`box` `[4]` float64 (x, y, width, height in pixels) and the `scores` `[detections]` float64 it was chosen by."""

    box: np.ndarray
    scores: np.ndarray


def choose_box(heat: np.ndarray, width: int, height: int, boxes: np.ndarray) -> Chosen:
    """Choose the detection with the largest sum of heat over the root of its area; the first among equal ones.

    `heat` `[rows, columns]` float32 is scaled to the image, bicubic; `boxes` `[detections, 4]` x, y, width, height.
    """
    pixels = F.interpolate(paddle.to_tensor(heat[None, None]), size=[height, width], mode="bicubic")[0, 0].numpy()
    scores = np.array([_heat_inside(pixels, box) for box in boxes])
    best = int(np.argmax(scores)) if (scores > 0).any() else 0
    return Chosen(boxes[best], scores)


def peak_box(heat: np.ndarray, width: int, height: int) -> tuple[tuple[float, float, float, float], float]:
    """Box the cells around the peak of `heat` `[rows, columns]` that are connected and at least half as hot.

    Returns left, top, right, bottom in pixels of an image of `width` x `height`, and the share of all heat inside.
    """
    rows, columns = heat.shape
    warm = np.pad(heat >= 0.5 * heat.max(), 1)
    found = np.zeros_like(warm)
    row, column = np.unravel_index(np.argmax(heat), heat.shape)
    found[row + 1, column + 1] = True
    before = 0
    while before < found.sum():  # grows by one cell in each direction until nothing is added
        before = int(found.sum())
        inner = found[1:-1, 1:-1]
        inner |= found[:-2, 1:-1] | found[2:, 1:-1] | found[1:-1, :-2] | found[1:-1, 2:]
        found &= warm
    marked = np.argwhere(found[1:-1, 1:-1])
    (top, left), (bottom, right) = marked.min(axis=0), marked.max(axis=0) + 1
    total = float(heat.sum())
    share = float(heat[top:bottom, left:right].sum()) / total if total > 0 else 0.0
    across, down = width / columns, height / rows
    return (float(left * across), float(top * down), float(right * across), float(bottom * down)), share


def _heat_inside(pixels: np.ndarray, box: np.ndarray) -> float:
    x, y, width, height = box
    inside = pixels[max(0, int(y)) : max(0, int(y + height)), max(0, int(x)) : max(0, int(x + width))]
    area = width * height
    return float(inside.sum()) / area**AREA_POWER if area > 0 else 0.0


def pixel_iou(box: np.ndarray, other: np.ndarray) -> float:
    """Compute the IoU of two boxes x, y, width, height as in the original: edges are inclusive pixels, and a shared
    strip of one pixel counts as no overlap."""
    left, top = max(box[0], other[0]), max(box[1], other[1])
    right, bottom = min(box[0] + box[2], other[0] + other[2]) - 1, min(box[1] + box[3], other[1] + other[3]) - 1
    shared = (right - left + 1) * (bottom - top + 1) if left < right and top < bottom else 0.0
    union = box[2] * box[3] + other[2] * other[3] - shared
    return float(shared / union) if union > 0 else 0.0
