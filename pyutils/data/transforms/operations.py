"""The fourteen image operations of RandAugment (Cubuk et al., CVPR Workshops 2020) as ALBEF trains with them.

Every function takes and returns `[height, width, 3]` uint8 in RGB order and leaves its input alone. Two quirks of the
original affect published numbers and are kept: grey is weighted as if the channels were in BGR order, and the area that
a moved image uncovers is mid-grey.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyutils.data.transforms.affine import rotation_matrix, warp_affine

FILL = (128, 128, 128)
_GREY_WEIGHTS = np.array([0.114, 0.587, 0.299])


def identity(image: np.ndarray) -> np.ndarray:
    """The image itself."""
    return image


def auto_contrast(image: np.ndarray, wrap: bool = True) -> np.ndarray:
    """Stretch each channel so that its darkest value becomes 0 and its brightest 255; a flat channel stays.

    With `wrap`, as in the original, the darkest value is negated in eight bits: a channel without a 0 in it becomes
    nearly white. The published models were trained with that; `wrap=False` stretches every channel.
    """
    levels = np.arange(256)
    tables: list[np.ndarray] = []
    for channel in range(3):
        low, high = int(image[..., channel].min()), int(image[..., channel].max())
        if high <= low:
            tables.append(levels)
            continue
        scale = 255 / (high - low)
        tables.append(levels * scale + ((-low) % 256 if wrap else -low) * scale)
    return _look_up(image, tables)


def equalize(image: np.ndarray) -> np.ndarray:
    """Flatten the histogram of each channel; a channel with hardly any spread stays."""
    tables: list[np.ndarray] = []
    for channel in range(3):
        counts = np.bincount(image[..., channel].reshape(-1), minlength=256)
        present = counts[counts > 0]
        step = int(present[:-1].sum()) // 255
        if step == 0:
            tables.append(np.arange(256))
            continue
        below = np.concatenate([[step // 2], counts[:-1]])
        tables.append(np.cumsum(below) // step)
    return _look_up(image, tables)


def rotate(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turn by `degrees` counter-clockwise around the middle."""
    height, width = image.shape[:2]
    return warp_affine(image, rotation_matrix((width / 2, height / 2), degrees), FILL)


def solarize(image: np.ndarray, threshold: int) -> np.ndarray:
    """Invert the values that are not below `threshold` (0-256)."""
    levels = np.arange(256)
    return _look_up(image, [np.where(levels < threshold, levels, 255 - levels)] * 3)


def color(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the grey image: 0 is grey, 1 the image, above 1 more saturated."""
    grey = np.repeat(_GREY_WEIGHTS[:, None], 3, axis=1).astype(np.float32)
    blend = (np.eye(3, dtype=np.float32) - grey) * np.float32(factor) + grey
    return _to_bytes(np.matmul(image.astype(np.float32), blend))


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Move every value away from (factor > 1) or towards the mean grey of the image."""
    mean = float(np.sum(np.mean(image, axis=(0, 1)) * _GREY_WEIGHTS))
    return _look_up(image, [(np.arange(256) - mean) * factor + mean] * 3)


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply every value by `factor`."""
    return _look_up(image, [np.arange(256, dtype=np.float32) * np.float32(factor)] * 3)


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """Move away from (factor > 1) or towards the smoothed image; the outermost pixels stay.

    Values that leave 0-255 are clipped; the original lets them wrap around, which speckles bright edges.
    """
    if factor == 1.0 or min(image.shape[:2]) < 3:
        return image
    levels = np.arange(256, dtype=np.float32)
    smooth, sharp = levels[:, None], levels[None, :]
    table = _to_bytes(smooth + np.float32(factor) * (sharp - smooth)).reshape(-1)  # [256 smoothed x 256 original]
    pairs = _smoothed(image)
    pairs <<= 8
    pairs |= image[1:-1, 1:-1]
    result = image.copy()
    result[1:-1, 1:-1] = np.take(table, pairs)
    return result


def shear_x(image: np.ndarray, factor: float) -> np.ndarray:
    """Move each row by `factor` times its number to the right."""
    return warp_affine(image, np.array([[1, np.float32(factor), 0], [0, 1, 0]], dtype=np.float32), FILL)


def shear_y(image: np.ndarray, factor: float) -> np.ndarray:
    """Move each column by `factor` times its number downwards."""
    return warp_affine(image, np.array([[1, 0, 0], [np.float32(factor), 1, 0]], dtype=np.float32), FILL)


def translate_x(image: np.ndarray, pixels: float) -> np.ndarray:
    """Move by `pixels` to the left."""
    if pixels == int(pixels):
        return _shifted(image, int(pixels))
    return warp_affine(image, np.array([[1, 0, -pixels], [0, 1, 0]], dtype=np.float32), FILL)


def translate_y(image: np.ndarray, pixels: float) -> np.ndarray:
    """Move by `pixels` upwards."""
    if pixels == int(pixels):
        return _shifted(image.transpose(1, 0, 2), int(pixels)).transpose(1, 0, 2)
    return warp_affine(image, np.array([[1, 0, 0], [0, 1, -pixels]], dtype=np.float32), FILL)


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """Keep the `bits` (0-8) highest bits of every value."""
    return image & np.uint8((255 << (8 - bits)) & 255)


def _shifted(image: np.ndarray, pixels: int) -> np.ndarray:
    """The image moved by whole `pixels` against its second axis."""
    result = np.empty_like(image)
    result[...] = np.array(FILL, dtype=np.uint8)
    width = image.shape[1]
    kept = max(0, width - abs(pixels))
    source, target = max(pixels, 0), max(-pixels, 0)
    result[:, target : target + kept] = image[:, source : source + kept]
    return result


def _smoothed(image: np.ndarray) -> np.ndarray:
    """The inner pixels after a 3 x 3 mean in which the middle counts five times: [height - 2, width - 2, 3] uint16."""
    wide = image.astype(np.uint16)
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    total = rows[:, :-2] + rows[:, 1:-1]
    total += rows[:, 2:]
    total += wide[1:-1, 1:-1] << 2
    # total / 13, rounded half up.
    total <<= 1
    total += 13
    total //= 26
    return total


def _look_up(image: np.ndarray, tables: Sequence[np.ndarray]) -> np.ndarray:
    """Replace the values of each channel through its table of 256 entries, clipped to 0-255 and cut to integers."""
    result = np.empty_like(image)
    for channel, table in enumerate(tables):
        result[..., channel] = _to_bytes(table)[image[..., channel]]
    return result


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)
