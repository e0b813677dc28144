"""Which part of an image is looked at: the random crop of Szegedy et al. (CVPR 2015), drawn as torchvision draws it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_TRIES = 10


class Crop(NamedTuple):
    """A rectangle in whole pixels."""

    left: int
    top: int
    width: int
    height: int


def whole(width: int, height: int) -> Crop:
    """All of a `width` x `height` image."""
    return Crop(0, 0, width, height)


def random_crop(
    width: int,
    height: int,
    scale: tuple[float, float],
    rng: np.random.Generator,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Crop:
    """A rectangle of `scale` of the image's area, of a width to height `ratio` drawn on a logarithmic scale.

    Up to ten times an area and a ratio are drawn, until the rectangle fits the image; its place is drawn then. When
    none fits, it is the middle of the image, cut to the nearest allowed ratio.
    """
    log_ratio = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(_TRIES):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(*log_ratio))
        cut_width, cut_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < cut_width <= width and 0 < cut_height <= height:
            top = int(rng.integers(0, height - cut_height + 1))
            left = int(rng.integers(0, width - cut_width + 1))
            return Crop(left, top, cut_width, cut_height)
    return _middle(width, height, ratio)


def _middle(width: int, height: int, ratio: tuple[float, float]) -> Crop:
    cut_width, cut_height = width, height
    if width / height < ratio[0]:
        cut_height = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        cut_width = max(1, round(height * ratio[1]))
    return Crop((width - cut_width) // 2, (height - cut_height) // 2, cut_width, cut_height)
