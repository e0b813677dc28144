"""Boxes of a detector: anchors, box deltas, clipping and non-maximum suppression.

Boxes are `x1 y1 x2 y2` in pixels, without the `+ 1` of older detectors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle

LARGEST_SCALE = math.log(1000.0 / 16)
"""Upper bound of dw and dh: a box never grows by more than 62.5, whatever an untrained head predicts."""


def cell_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """Return the anchors of one cell `[sizes x ratios, 4]` float32 around 0: size by size, in it ratio by ratio
    (height / width)."""
    boxes = []
    for size in sizes:
        for ratio in ratios:
            width = math.sqrt(size**2 / ratio)
            height = ratio * width
            boxes.append((-width / 2, -height / 2, width / 2, height / 2))
    return np.array(boxes, np.float32)


def grid_anchors(cell: paddle.Tensor, rows: int, columns: int, stride: int, offset: float = 0.0) -> paddle.Tensor:
    """Return `cell` `[a, 4]` moved to every cell of a feature map: `[rows x columns x a, 4]`, row, column, anchor."""
    x = (paddle.arange(columns, dtype="float32") + offset) * stride
    y = (paddle.arange(rows, dtype="float32") + offset) * stride
    y, x = paddle.meshgrid(y, x)
    shifts = paddle.stack([x.flatten(), y.flatten(), x.flatten(), y.flatten()], axis=1)
    return (shifts.unsqueeze(1) + cell.unsqueeze(0)).reshape([-1, 4])


def decode_boxes(boxes: paddle.Tensor, deltas: paddle.Tensor, weights: Sequence[float]) -> paddle.Tensor:
    """Apply deltas to boxes (Fast R-CNN, equations 1-4 of its appendix C).

    Args:
        boxes: `[n, 4]` float32. deltas: `[n, 4 k]` float32, k sets of dx dy dw dh of each box.
        weights: divisors of dx, dy, dw, dh; dw and dh are bounded after the division.

    Returns:
        `[n, 4 k]` float32.
    """
    count = boxes.shape[0]
    deltas = deltas.reshape([count, -1, 4]) / paddle.to_tensor(list(weights), dtype="float32")
    size = (boxes[:, 2:] - boxes[:, :2]).unsqueeze(1)  # [n, 1, 2]
    centre = boxes[:, :2].unsqueeze(1) + 0.5 * size
    moved = deltas[:, :, :2] * size + centre
    half = 0.5 * paddle.exp(paddle.clip(deltas[:, :, 2:], max=LARGEST_SCALE)) * size
    return paddle.concat([moved - half, moved + half], axis=-1).reshape([count, -1])


def encode_boxes(boxes: paddle.Tensor, targets: paddle.Tensor, weights: Sequence[float]) -> paddle.Tensor:
    """Return the deltas `[n, 4]` that lead from `boxes` to `targets`, the inverse of `decode_boxes`."""
    size, wanted = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    move = (targets[:, :2] + 0.5 * wanted - boxes[:, :2] - 0.5 * size) / size
    return paddle.concat([move, paddle.log(wanted / size)], axis=1) * paddle.to_tensor(list(weights), dtype="float32")


def clip_boxes(boxes: paddle.Tensor, height: float, width: float) -> paddle.Tensor:
    """Return `[..., 4]` boxes cut at the borders of an image of `height` x `width` pixels."""
    limits = paddle.to_tensor([width, height, width, height], dtype="float32")
    return paddle.minimum(paddle.clip(boxes, min=0.0), limits)


def box_ious(first: paddle.Tensor, second: paddle.Tensor) -> paddle.Tensor:
    """Return the intersection over union of every pair `[n, m]` of `[n, 4]` and `[m, 4]`."""
    low = paddle.maximum(first[:, None, :2], second[None, :, :2])
    high = paddle.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = paddle.clip(high - low, min=0.0).prod(axis=-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (first, second)]
    return shared / paddle.clip(areas[0][:, None] + areas[1][None] - shared, min=1e-9)


def nms(boxes: paddle.Tensor, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Return the indices kept by non-maximum suppression, by falling score; the first of equal scores wins.

    Args:
        boxes: `[n, 4]` float32. scores: `[n]`. threshold: a box whose IoU with a kept one is above it is dropped.

    Returns:
        `[kept]` int64.
    """
    if not len(scores):
        return np.zeros(0, np.int64)  # Paddle 2.6 raises for no boxes
    # Paddle's own ordering of equal scores is not stable, so boxes are sorted before.
    order = np.argsort(-np.asarray(scores), kind="stable")
    limit = np.float32(threshold)
    if float(limit) > threshold:
        # Paddle compares in float32. Rounded up, the threshold would keep a box whose IoU equals it.
        limit = np.nextafter(limit, np.float32(0))
    kept = paddle.vision.ops.nms(paddle.gather(boxes, paddle.to_tensor(order)), float(limit)).numpy()
    return order[kept]
