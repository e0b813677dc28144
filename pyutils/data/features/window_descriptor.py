"""A small hand-made region descriptor in place of a detector's region features.

A region is any pixel box. It is read as a 16 x 16 patch by area averaging, compared with the colour of the image's
border, and described by colours, the mask of what differs from the border, the mask's moments and the orientations of
its outline. Nothing is learnt and no class is known.
`window_boxes` gives the regions to describe where there is no detector: overlapping windows and the entire image.
"""

from __future__ import annotations

import numpy as np

DETECTOR = "window-descriptor"
# Recorded in the features and compared with them, so the text keeps the name that the module once had.
PROVENANCE = "pyutils.sample.descriptor version 1: hand-made features, no detector, nothing learnt"
DIMENSION = 192

_PATCH = 16
_HARMONICS = 6
_DIRECTIONS = 8
_IMAGES_AT_ONCE = 64
# A colour nearer to the border than the first number is background, farther than the sum is surely not (RGB in 0-1).
_BACKGROUND_DISTANCE, _BACKGROUND_SOFTNESS = 0.12, 0.2
# Windows as (columns and rows, share of the side they span).
_SCALES = ((5, 1 / 3), (3, 1 / 2), (1, 1.0))
WINDOWS = sum(count * count for count, _ in _SCALES)


def window_boxes(width: int, height: int) -> np.ndarray:
    """Overlapping windows of an image: 5 x 5 of a third of the side, 3 x 3 of half of it, and the entire image.

    Returns:
        `[35, 4]` float32, x1, y1, x2, y2 in pixels, small windows first, row by row.
    """
    boxes = []
    for count, share in _SCALES:
        starts = np.linspace(0.0, 1.0 - share, count)
        y, x = np.meshgrid(starts, starts, indexing="ij")
        boxes.append(np.stack([x, y, x + share, y + share], axis=-1).reshape(-1, 4))
    return (np.concatenate(boxes) * [width, height, width, height]).astype(np.float32)


def describe_windows(images: np.ndarray) -> np.ndarray:
    """Features of the windows of equally large images.

    Args:
        images: `[b, h, w, 3]` uint8, RGB.

    Returns:
        `[b, 35, 192]` float32, in the order of `window_boxes`.
    """
    boxes = window_boxes(images.shape[2], images.shape[1])
    return np.concatenate(
        [_describe(images[i : i + _IMAGES_AT_ONCE], boxes) for i in range(0, len(images), _IMAGES_AT_ONCE)]
    )


def describe_boxes(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Features of given regions of one image.

    Args:
        image: `[h, w, 3]` uint8, RGB.
        boxes: `[n, 4]` x1, y1, x2, y2 in pixels; parts outside of the image are cut off.

    Returns:
        `[n, 192]` float32.
    """
    return _describe(image[None], np.asarray(boxes, np.float32).reshape(-1, 4))[0]


def _describe(images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """`[b, h, w, 3]` uint8 and `[n, 4]` boxes to `[b, n, DIMENSION]`."""
    count, height, width = images.shape[:3]
    pixels = images.astype(np.float32) / 255.0
    border = np.concatenate([pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], axis=1)
    background = np.repeat(np.median(border, axis=1), len(boxes), axis=0)  # [b * n, 3]
    patches = _patches(pixels, boxes).reshape(-1, _PATCH, _PATCH, 3)
    distance = np.sqrt(np.square(patches - background[:, None, None]).sum(axis=-1))
    mask = np.clip((distance - _BACKGROUND_DISTANCE) / _BACKGROUND_SOFTNESS, 0.0, 1.0)  # [b * n, 16, 16]
    location = np.tile(_location(boxes, width, height), (count, 1))
    blocks = [location, _colours(patches, mask, background), _moments(mask), _outline(mask)]
    blocks += [2.0 * _pool(mask, 2) - 0.6, 2.5 * (_pool(patches, 4) - 0.8)]
    return np.concatenate(blocks, axis=1, dtype=np.float32).reshape(count, len(boxes), DIMENSION)


def _patches(pixels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Every box of every image averaged down (or spread) to 16 x 16: `[b, n, 16, 16, 3]` float32."""
    count, height, width = pixels.shape[:3]
    rows = _area_weights(boxes[:, 1], boxes[:, 3], height)  # [n, 16, h]
    columns = _area_weights(boxes[:, 0], boxes[:, 2], width)  # [n, 16, w]
    lines = rows.reshape(-1, height) @ pixels.transpose(1, 0, 3, 2).reshape(height, -1)
    lines = lines.reshape(len(boxes), _PATCH * count * 3, width)
    patches = lines @ columns.transpose(0, 2, 1)  # [n, 16 * b * 3, 16]
    return patches.reshape(len(boxes), _PATCH, count, 3, _PATCH).transpose(2, 0, 1, 4, 3)


def _area_weights(starts: np.ndarray, ends: np.ndarray, length: int) -> np.ndarray:
    """Weights `[n, 16, length]` that average the pixels of [start, end) into 16 equal cells; each row sums to 1.

    Boxes are cut at the image's border and are at least one pixel long.
    """
    starts = np.clip(starts, 0, length - 1.0)
    ends = np.clip(ends, starts + 1.0, length)
    edges = starts[:, None] + (ends - starts)[:, None] * np.linspace(0.0, 1.0, _PATCH + 1)  # [n, 17]
    first, last = edges[:, :-1, None], edges[:, 1:, None]
    pixel = np.arange(length)
    overlap = np.clip(np.minimum(last, pixel + 1) - np.maximum(first, pixel), 0.0, None)
    return (overlap / overlap.sum(axis=-1, keepdims=True)).astype(np.float32)


def _location(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Corners and sides as shares of the image, about -1 to 1: `[n, 6]`."""
    scaled = boxes / np.array([width, height, width, height], np.float32)
    sides = scaled[:, 2:] - scaled[:, :2]
    return np.concatenate([2.0 * scaled - 1.0, 4.0 * sides - 1.5], axis=1)


def _colours(patches: np.ndarray, mask: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Mean and deviation of the patch, the border's colour, the mask's colour and its difference: `[n, 15]`."""
    flat = patches.reshape(len(patches), -1, 3)
    weight = np.square(mask).reshape(len(mask), 1, -1)
    faint = 1e-3  # with an empty mask its colour is the background's
    colour = (np.matmul(weight, flat)[:, 0] + faint * background) / (weight.sum(axis=-1) + faint)
    centre, spread = flat.mean(axis=1), flat.std(axis=1)
    return np.concatenate(
        [3.0 * (centre - 0.8), 8.0 * (spread - 0.1), 6.0 * (background - 0.9), 3.0 * (colour - 0.6)]
        + [3.0 * (colour - background) + 0.8],
        axis=1,
    )


def _moments(mask: np.ndarray) -> np.ndarray:
    """Area, centre, spread, slant, lopsidedness and fullness of the mask: `[n, 9]`.

    Fullness is area / (12 * deviation across * deviation down): 1 for an upright box, 1.05 for an ellipse, 0.87 for a
    triangle, whatever the size.
    """
    cell = (np.arange(_PATCH, dtype=np.float32) + 0.5) / _PATCH
    total = mask.sum(axis=(1, 2)) + 1e-3
    across, down = mask.sum(axis=1) / total[:, None], mask.sum(axis=2) / total[:, None]  # [n, 16] each
    x, y = across @ cell, down @ cell
    dx, dy = cell - x[:, None], cell - y[:, None]
    # The variance of one cell keeps the deviation of a tiny mask from vanishing, and is what averaging adds anyway.
    own = 1.0 / 12 / _PATCH**2
    sx = np.sqrt((across * dx**2).sum(axis=1) + own)
    sy = np.sqrt((down * dy**2).sum(axis=1) + own)
    joint = np.einsum("nij,ni,nj->n", mask, dy, dx, optimize=True) / total
    area = total / _PATCH**2
    blocks = [4.0 * area - 1.0, 4.0 * x - 2.0, 4.0 * y - 2.0, 8.0 * sx - 1.0, 8.0 * sy - 1.0, 2.0 * joint / (sx * sy)]
    blocks += [(across * dx**3).sum(axis=1) / sx**3, (down * dy**3).sum(axis=1) / sy**3]
    blocks += [8.0 * (area / (12.0 * sx * sy) - 0.9)]
    return np.clip(np.stack(blocks, axis=1), -3.0, 3.0)


def _outline(mask: np.ndarray) -> np.ndarray:
    """Orientations of the mask's outline, over the region and over its four quarters: `[n, 6 + 12 + 32]`.

    Over the region: the first six circular harmonics of the gradient's direction, weighted by its length (three-fold
    for a triangle, four-fold for a box, none for a disc), as magnitudes and as cosine and sine parts.
    """
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)), mode="edge")
    gradient = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) + 1j * (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1])
    length = np.abs(gradient)
    unit = gradient / (length + 1e-6)
    total = length.sum(axis=(1, 2)) + 0.1
    turning, sums = length * unit, []
    for _ in range(_HARMONICS):
        sums.append(turning.sum(axis=(1, 2)) / total)
        turning = turning * unit
    harmonics = np.stack(sums, axis=1)
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    votes = [length * np.square(np.square(np.maximum((unit * np.exp(-1j * a)).real, 0.0))) for a in angles]
    quarters = _pool(np.stack(votes, axis=-1).astype(np.float32), _PATCH // 2) * (_PATCH**2 / 4)
    quarters = 4.0 * quarters / total[:, None] - 0.2
    return np.concatenate([4 * np.abs(harmonics) - 1.0, 4 * harmonics.real, 4 * harmonics.imag, quarters], axis=1)


def _pool(patches: np.ndarray, size: int) -> np.ndarray:
    """Means over size x size cells of `[n, 16, 16]` or `[n, 16, 16, c]`, flattened to `[n, cells * c]`."""
    side = _PATCH // size
    return patches.reshape(len(patches), side, size, side, size, -1).mean(axis=(2, 4)).reshape(len(patches), -1)
