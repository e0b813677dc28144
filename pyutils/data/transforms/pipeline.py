"""Transform a decoded image into a model's input (crop, resize, flip, augment, normalise); ALBEF's four presets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

from pyutils.data.transforms.randaugment import RandomAugment
from pyutils.errors import InputError, nearest

#: Mean and standard deviation of the red, green and blue values (0-1) that ALBEF subtracts and divides by.
ALBEF_MEAN = (0.48145466, 0.4578275, 0.40821073)
ALBEF_STD = (0.26862954, 0.26130258, 0.27577711)
_CROP_TRIES = 10


class Normalise:
    """(value / 255 - mean) / std of each channel, in float32.

    A channel has 256 values, so the results are looked up: every pixel gets exactly what the arithmetic gives.
    """

    def __init__(self, mean: Sequence[float] = ALBEF_MEAN, std: Sequence[float] = ALBEF_STD) -> None:
        unit = np.arange(256, dtype=np.float32) / np.float32(255)
        mean_column, std_column = (np.asarray(values, dtype=np.float32)[:, None] for values in (mean, std))
        self._tables = (unit[None, :] - mean_column) / std_column  # [channels, 256]

    def __call__(self, pixels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """[height, width, 3] uint8 to [3, height, width] float32, written to `out` when given (C-contiguous planes)."""
        height, width, channels = pixels.shape
        if out is None:
            out = np.empty((channels, height, width), dtype=np.float32)
        for channel, table in enumerate(self._tables):
            np.take(table, pixels[..., channel], out=out[channel], mode="clip")
        return out

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Undo the normalisation, for display: [3, height, width] float32 to [height, width, 3] uint8."""
        nearest = [np.searchsorted((table[1:] + table[:-1]) / 2, plane) for table, plane in zip(self._tables, image)]
        return np.stack(nearest, axis=-1).astype(np.uint8)


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
    """Draw a crop as torchvision does (Szegedy et al., CVPR 2015).

    `scale` is the range of its share of the image's area, `ratio` of width / height (log-uniform). Area and ratio are
    drawn up to ten times until the crop fits; its position is drawn last. If none fits, the crop is the centre of the
    image, cut to the nearest allowed ratio.
    """
    log_ratio = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(_CROP_TRIES):
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


@dataclass(frozen=True)
class ImageTransform:
    """Crop, scale to a square, flip, augment, normalise.

    size: side of the result in pixels.
    crop_scale: smallest and largest share of the area of a random crop; None scales the whole image.
    flip: probability of mirroring left and right.
    augment: applied to the scaled pixels, or None.
    normalise: makes float32 of the pixels.
    """

    size: int
    crop_scale: tuple[float, float] | None = None
    flip: float = 0.0
    augment: RandomAugment | None = None
    normalise: Normalise = field(default_factory=Normalise)

    @property
    def random(self) -> bool:
        """Whether two calls on one image may differ."""
        return self.crop_scale is not None or self.flip > 0 or self.augment is not None

    def crop(self, width: int, height: int, rng: np.random.Generator | None) -> Crop:
        """The part of a `width` x `height` image to look at. Draws numbers when the crop is random."""
        if self.crop_scale is None:
            return whole(width, height)
        return random_crop(width, height, self.crop_scale, self._drawing(rng))

    def scale(self, image: Image.Image, box: Sequence[float] | None = None) -> np.ndarray:
        """`image`, or its part `box` (left, top, right, bottom), in bicubic scaling: [size, size, 3] uint8."""
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box))

    def finish(self, pixels: np.ndarray, rng: np.random.Generator | None, out: np.ndarray | None = None) -> np.ndarray:
        """Flip, augment and normalise: [size, size, 3] uint8 to [3, size, size] float32 (`out` when given)."""
        if self.flip > 0 and self._drawing(rng).random() < self.flip:
            pixels = pixels[:, ::-1]
        if self.augment is not None:
            pixels = self.augment(pixels, self._drawing(rng))
        return self.normalise(pixels, out)

    def __call__(
        self, image: Image.Image, rng: np.random.Generator | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """An RGB image to [3, size, size] float32. ValueError when it is random and `rng` is None."""
        left, top, width, height = self.crop(image.width, image.height, rng)
        if (width, height) != image.size:
            image = image.crop((left, top, left + width, top + height))
        return self.finish(self.scale(image), rng, out)

    @staticmethod
    def _drawing(rng: np.random.Generator | None) -> np.random.Generator:
        if rng is None:
            raise ValueError("a random transform needs the batch's random generator (rng)")
        return rng


# name: (share of the area that is cropped, whether pixels are flipped and augmented)
_ALBEF: dict[str, tuple[tuple[float, float] | None, bool]] = {
    "pretrain": ((0.2, 1.0), True),
    "finetune": ((0.5, 1.0), True),
    "grounding": (None, True),
    "evaluate": (None, False),
}


def albef_transform(name: str, size: int, flip: bool = True) -> ImageTransform:
    """One of ALBEF's transforms for `size` x `size` images (256 in pre-training, 384 in the fine-tunes).

    "pretrain" and "finetune" crop (0.2-1 and 0.5-1 of the area), flip and augment; "grounding" scales the whole image,
    flips and augments; "evaluate" only scales. `flip=False` leaves mirroring out, which suits texts that say left and
    right; the original mirrors all the same. InputError for another name or a size below 1.
    """
    if name not in _ALBEF:
        raise InputError(f"unknown image transform {name!r}: {nearest(name, _ALBEF)}")
    if size < 1:
        raise InputError(f"image_res must be at least 1 pixel, found {size}")
    crop_scale, random = _ALBEF[name]
    return ImageTransform(size, crop_scale, 0.5 if random and flip else 0.0, RandomAugment() if random else None)
