"""The whole way from a decoded image to a network's input, and ALBEF's four settings of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from pyutils.data.transforms.crop import Crop, random_crop, whole
from pyutils.data.transforms.normalise import Normalise
from pyutils.data.transforms.randaugment import RandomAugment
from pyutils.errors import InputError, nearest


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
