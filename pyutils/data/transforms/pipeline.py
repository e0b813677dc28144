"""Transform a decoded image into a model's input (crop, resize, flip, augment, normalise); ALBEF's four presets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from pyutils.data.transforms.randaugment import RandomAugment

# Mean and standard deviation of the red, green and blue values (0-1), as in the original ALBEF.
ALBEF_MEAN = (0.48145466, 0.4578275, 0.40821073)
ALBEF_STD = (0.26862954, 0.26130258, 0.27577711)
_CROP_TRIES = 10
_RATIO = (3 / 4, 4 / 3)  # width / height of a random crop


# A channel has 256 values, so normalisation is a look-up and exact: [channels, 256] float32.
_LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)
_NORMALISED = (_LEVELS - np.array(ALBEF_MEAN, np.float32)[:, None]) / np.array(ALBEF_STD, np.float32)[:, None]


def normalise(pixels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Compute (value / 255 - mean) / std of each channel, with ALBEF's mean and standard deviation.

    [height, width, 3] uint8 to [3, height, width] float32, written to `out` when given (C-contiguous planes).
    """
    if out is None:
        out = np.empty((3, *pixels.shape[:2]), dtype=np.float32)
    for channel, table in enumerate(_NORMALISED):
        np.take(table, pixels[..., channel], out=out[channel], mode="clip")
    return out


class Crop(NamedTuple):
    """A rectangle in whole pixels."""

    left: int
    top: int
    width: int
    height: int


def random_crop(width: int, height: int, scale: tuple[float, float], rng: np.random.Generator) -> Crop:
    """Draw a crop as torchvision does (Szegedy et al., CVPR 2015).

    `scale` is the range of its fraction of the image's area; width / height is log-uniform in 3/4 … 4/3. Area and ratio
    are drawn up to ten times until the crop fits; its position is drawn last. If none fits, the crop is the centre of
    the image, cut to the nearest allowed ratio.
    """
    narrow, wide = _RATIO
    for _ in range(_CROP_TRIES):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(narrow), math.log(wide)))
        cut_width, cut_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < cut_width <= width and 0 < cut_height <= height:
            top = int(rng.integers(0, height - cut_height + 1))
            left = int(rng.integers(0, width - cut_width + 1))
            return Crop(left, top, cut_width, cut_height)
    cut_width, cut_height = width, height
    if width / height < narrow:
        cut_height = max(1, round(width / narrow))
    elif width / height > wide:
        cut_width = max(1, round(height * wide))
    return Crop((width - cut_width) // 2, (height - cut_height) // 2, cut_width, cut_height)


@dataclass(frozen=True)
class ImageTransform:
    """Crop, resize to a square, flip, augment, normalise.

    size: side of the result in pixels.
    crop_scale: smallest and largest fraction of the area of a random crop; None takes the whole image.
    flip: probability of a horizontal flip.
    augment: applied to the resized pixels, or None.
    """

    size: int
    crop_scale: tuple[float, float] | None = None
    flip: float = 0.0
    augment: RandomAugment | None = None

    @property
    def random(self) -> bool:
        """True when two calls on one image may differ."""
        return self.crop_scale is not None or self.flip > 0 or self.augment is not None

    def crop(self, width: int, height: int, rng: np.random.Generator) -> Crop:
        """Choose the part of a `width` x `height` image to read."""
        if self.crop_scale is None:
            return Crop(0, 0, width, height)
        return random_crop(width, height, self.crop_scale, rng)

    def scale(self, image: Image.Image, crop: Crop, reduction: int = 1) -> np.ndarray:
        """Cut `crop` out of `image` and resize it (bicubic): [size, size, 3] uint8.

        `crop` is in pixels of the file; `image` may have been decoded smaller by the factor `reduction`.
        """
        left, top, width, height = crop
        box = (left, top, left + width, top + height)
        resized_box = None
        if reduction > 1:
            resized_box = [min(edge / reduction, most) for edge, most in zip(box, image.size * 2)]
        elif (width, height) != image.size:
            image = image.crop(box)
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=resized_box))

    def finish(self, pixels: np.ndarray, rng: np.random.Generator, out: np.ndarray | None = None) -> np.ndarray:
        """Flip, augment and normalise: [size, size, 3] uint8 to [3, size, size] float32 (`out` when given)."""
        if self.flip > 0 and rng.random() < self.flip:
            pixels = pixels[:, ::-1]
        if self.augment is not None:
            pixels = self.augment(pixels, rng)
        return normalise(pixels, out)


# name: (fraction of the area of a random crop, flip and augment)
_ALBEF: dict[str, tuple[tuple[float, float] | None, bool]] = {
    "pretrain": ((0.2, 1.0), True),
    "finetune": ((0.5, 1.0), True),
    "grounding": (None, True),
    "evaluate": (None, False),
}


def albef_transform(name: str, size: int, flip: bool = True) -> ImageTransform:
    """Make one of ALBEF's transforms for `size` x `size` images (256 in pre-training, 384 in fine-tuning).

    "pretrain" and "finetune" crop (0.2-1 and 0.5-1 of the area), flip and augment; "grounding" resizes the whole image,
    flips and augments; "evaluate" only resizes. `flip=False` disables the flip, for texts that mention left and right;
    the original flips all the same.
    """
    crop_scale, random = _ALBEF[name]
    return ImageTransform(size, crop_scale, 0.5 if random and flip else 0.0, RandomAugment() if random else None)
