"""Images that are given rather than listed: a path, a Pillow image or an array."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from PIL import Image, ImageOps

from pyutils.data.images import Images, as_rgb
from pyutils.data.transforms import ImageTransform
from pyutils.errors import InputError

GivenImage = Union[str, "os.PathLike[str]", Image.Image, np.ndarray]
_CHANNELS = (1, 3, 4)


def check_image(image: Any, where: str) -> Any:
    """Return a given image as a path or a Pillow image; `where` names it in errors.

    An array is `[h, w]`, `[h, w, 1]`, `[h, w, 3]` (RGB) or `[h, w, 4]`, uint8.

    Raises:
        InputError: something else, a path without a file, or an array of another shape or type.
    """
    if isinstance(image, (str, os.PathLike)):
        path = Path(image).expanduser()
        if not path.is_file():
            raise InputError(f"{where}: {path}: no such image file")
        return path
    if isinstance(image, Image.Image):
        return image
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"{where}: {type(image).__name__} is no image; give a path, a Pillow image or an array [h, w, 3] uint8"
        )
    flat = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in _CHANNELS)
    if image.dtype != np.uint8 or not flat or not image.size:
        raise InputError(
            f"{where}: an array {image.dtype} {list(image.shape)} is no image; expected [h, w, 3] uint8 (RGB, 0 to 255)"
        )
    return Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)


def opened_image(image: Any, upright: bool = False) -> Optional[Image.Image]:
    """Return a given image in RGB, decoded; None for what holds no pixels (region features).

    `upright`: turn it by its EXIF orientation.

    Raises:
        InputError: a missing or damaged file.
    """
    if isinstance(image, np.ndarray):
        image = check_image(image, "the image")
    if isinstance(image, (str, os.PathLike)):
        return Images.decode(Path(image).expanduser(), upright)
    if not isinstance(image, Image.Image):
        return None
    return as_rgb(ImageOps.exif_transpose(image) if upright else image)


class GivenImages(Images):
    """Images in memory or anywhere on disk, as an image source: the key of each is its number.

    Args:
        images: paths and Pillow images. Others as in `Images`.
    """

    def __init__(
        self,
        images: Sequence[Any],
        transform: ImageTransform,
        draft_margin: float | None = 2.0,
        exif_rotation: bool = False,
    ) -> None:
        super().__init__([], transform, draft_margin, exif_rotation)
        self.given = list(images)
        self.keys = [str(number) for number in range(len(self.given))]

    def read(self, key: str, rng: np.random.Generator | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Read the image `key`, see `Images.read`."""
        image = self.given[int(key)]
        if not isinstance(image, Image.Image):
            return self.read_file(image, rng, out)
        rng = rng or np.random.default_rng(0)  # nothing is drawn: transforms of evaluation are not random
        return self.transform.finish(self.prepared(image, rng), rng, out)

    def path(self, key: str) -> Path:
        """Return the file of the image `key`, which is not in memory."""
        return Path(self.given[int(key)])

    def size(self, key: str) -> tuple[int, int]:
        """See `Images.size`."""
        image = self.given[int(key)]
        return self.upright_size(image) if isinstance(image, Image.Image) else super().size(key)
