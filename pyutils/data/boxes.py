"""Are boxes what they are taken for? Compares them with the size of their image."""

from __future__ import annotations

import numpy as np

_SLACK = 2.0  # pixels; annotated boxes and detections may reach a little beyond the image
_RELATIVE = 1.5
_SMALLEST_SIDE = 16
_FEW = 0.1
_ENOUGH = 4  # fewer empty boxes may be an annotator's slips


def box_problem(boxes: np.ndarray, width: int, height: int) -> str:
    """Describe what is wrong with `boxes` [n, 4] (left, top, right, bottom in pixels of an image), "" for nothing.

    Up to a tenth of the boxes may be empty or reach beyond the image. Without a size (0) only the order of the corners
    is checked.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    if not len(boxes):
        return ""
    if not np.isfinite(boxes).all():
        return "boxes hold NaN or infinity"
    if min(width, height) > _SMALLEST_SIDE and boxes.max() <= _RELATIVE:
        return f"boxes are relative (0 to 1) where pixels of an image of {width} x {height} are expected"
    if (boxes[:, 2:] < boxes[:, :2]).any(axis=1).mean() > _FEW:
        return "boxes look like x, y, width, height where left, top, right, bottom are expected"
    if len(boxes) >= _ENOUGH and (boxes[:, 2:] == boxes[:, :2]).any(axis=1).mean() > _FEW:
        return "boxes are empty"
    if min(width, height) > 0:
        beyond = (boxes[:, 2] > width + _SLACK) | (boxes[:, 3] > height + _SLACK) | (boxes < -_SLACK).any(axis=1)
        if beyond.mean() > _FEW:
            return f"boxes reach beyond the image of {width} x {height}: they are of another size of the image"
    return ""
