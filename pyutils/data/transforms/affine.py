"""Affine warps of 8-bit images in fixed-point arithmetic, as OpenCV's `warpAffine` (linear) does them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Coordinates carry 10 fractional bits while they are summed and 5 when a pixel is looked up: 32 x 32 sub-pixels.
_COORDINATE_BITS, _SUBPIXEL_BITS = 10, 5
_SUBPIXELS = 1 << _SUBPIXEL_BITS
# A pixel's three channels share one 64-bit word, 20 bits each: 255 x 32 x 32 plus rounding needs 18.
_LANES = np.array([0, 20, 40], dtype=np.uint64)
_BORDER = 2
_HALF = np.uint64(sum((_SUBPIXELS * _SUBPIXELS // 2) << int(lane) for lane in _LANES))


def warp_affine(image: np.ndarray, matrix: np.ndarray, fill: Sequence[int]) -> np.ndarray:
    """Warp `image` by the forward `matrix`, interpolating linearly; outside it the colour is `fill`.

    Args:
        image: [height, width, 3] uint8.
        matrix: [2, 3] float, maps (x, y, 1) of `image` to (x, y) of the result.
        fill: three values of 0-255; they blend into the border as neighbouring pixels do.

    Returns:
        [height, width, 3] uint8. The arithmetic is integral, so every machine gives the same result.
    """
    height, width = image.shape[:2]
    x, y = _source_coordinates(_inverse(np.asarray(matrix, dtype=np.float64)), height, width)
    across, down = x & (_SUBPIXELS - 1), y & (_SUBPIXELS - 1)
    words = _packed_with_border(image, fill)
    stride = width + 2 * _BORDER
    # Coordinates beyond the border read the border, which has the same colour.
    position = np.clip(y >> _SUBPIXEL_BITS, -_BORDER, height) + _BORDER
    position *= stride
    position += np.clip(x >> _SUBPIXEL_BITS, -_BORDER, width) + _BORDER
    upper = _blend_columns(words, position, across)
    if down.any():
        lower = _blend_columns(words[stride:], position, across)
        blended = _blend(upper, lower, down)
    else:
        blended = upper << np.uint64(_SUBPIXEL_BITS)
    return _unpacked(blended)


def rotation_matrix(centre: tuple[float, float], degrees: float) -> np.ndarray:
    """[2, 3] float64 matrix that turns by `degrees` counter-clockwise (y pointing down) around `centre` (x, y)."""
    cosine, sine = np.cos(degrees * np.pi / 180), np.sin(degrees * np.pi / 180)
    x, y = centre
    return np.array(
        [[cosine, sine, (1 - cosine) * x - sine * y], [-sine, cosine, sine * x + (1 - cosine) * y]], dtype=np.float64
    )


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """The [2, 3] matrix of the inverse map; a singular one maps everything to its offset of zero scale."""
    determinant = matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]
    scale = 1 / determinant if determinant != 0 else 0.0
    a, b = matrix[1, 1] * scale, -matrix[0, 1] * scale
    c, d = -matrix[1, 0] * scale, matrix[0, 0] * scale
    return np.array(
        [[a, b, -a * matrix[0, 2] - b * matrix[1, 2]], [c, d, -c * matrix[0, 2] - d * matrix[1, 2]]], dtype=np.float64
    )


def _source_coordinates(inverse: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel comes from: x and y, [height, width] int64 in units of 1/32 pixel.

    Column and row parts are rounded on their own before they are added, as OpenCV rounds them.
    """
    scale = 1 << _COORDINATE_BITS
    drop = _COORDINATE_BITS - _SUBPIXEL_BITS
    columns, rows = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)
    coordinates = []
    for a, b, c in inverse:
        along = np.rint(a * columns * scale).astype(np.int64)
        start = np.rint((b * rows + c) * scale).astype(np.int64) + (1 << (drop - 1))
        coordinates.append((start[:, None] + along[None, :]) >> drop)
    return coordinates[0], coordinates[1]


def _packed_with_border(image: np.ndarray, fill: Sequence[int]) -> np.ndarray:
    """[(height + 4) * (width + 4)] uint64: the image with two pixels of `fill` around it, a word a pixel."""
    height, width = image.shape[:2]
    border = np.uint64(sum(int(value) << int(lane) for value, lane in zip(fill, _LANES)))
    words = np.full((height + 2 * _BORDER, width + 2 * _BORDER), border, dtype=np.uint64)
    inside = words[_BORDER:-_BORDER, _BORDER:-_BORDER]
    inside[...] = image[..., 0]
    for channel in (1, 2):
        inside |= image[..., channel].astype(np.uint64) << _LANES[channel]
    return words.reshape(-1)


def _unpacked(blended: np.ndarray) -> np.ndarray:
    """[height, width, 3] uint8 from words whose lanes hold 1024 times the value, rounded half up."""
    blended += _HALF
    result = np.empty((*blended.shape, 3), dtype=np.uint8)
    for channel, lane in enumerate(_LANES):
        result[..., channel] = blended >> (lane + np.uint64(2 * _SUBPIXEL_BITS))
    return result


def _blend_columns(words: np.ndarray, position: np.ndarray, across: np.ndarray) -> np.ndarray:
    """32 times the value between the pixels at `position` and the ones to their right."""
    left = np.take(words, position, mode="clip")
    if not across.any():
        return left << np.uint64(_SUBPIXEL_BITS)
    return _blend(left, np.take(words[1:], position, mode="clip"), across)


def _blend(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """32 * first + share * (second - first) in every lane; `second` is spent.

    A lane of the difference may be negative and borrow from the next: the sum wraps back, since its lanes are not.
    """
    second -= first
    second *= share.view(np.uint64)
    second += first << np.uint64(_SUBPIXEL_BITS)
    return second
