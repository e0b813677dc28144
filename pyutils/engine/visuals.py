"""Images given to a pipeline: checked, and turned into what its task reads, pixels or regions."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
from PIL import Image

from pyutils.data.features import RegionFeatures, RegionSource, open_regions
from pyutils.data.given_images import check_image, opened_image
from pyutils.data.image_listing import ImageListing
from pyutils.errors import InputError
from pyutils.formats.json_files import image_key


@dataclass(frozen=True)
class Given:
    """An image as it was given (`shown`), checked (`item`), and its name in messages."""

    shown: Any
    item: Any
    name: str


class Visuals:
    """Turns given images into a task's visual input.

    Args:
        kind: `SplitTask.visual_input`.
        regions: a store's path or an open one, an object with `describe`, or None.

    Raises:
        InputError: no store there, another object, or regions for a model that reads pixels.
    """

    def __init__(self, kind: Literal["images", "regions"], regions: Any = None) -> None:
        self.kind, self.store, self.describer = kind, None, None
        if regions is None:
            return
        if kind == "images":
            raise InputError("regions: this model reads images; leave regions out")
        if isinstance(regions, (str, os.PathLike)):
            self.store = open_regions(Path(regions).expanduser())
        elif isinstance(regions, RegionSource):
            self.store = regions
        elif callable(getattr(regions, "describe", None)):
            self.describer = regions
        else:
            raise InputError(
                f"regions: a {type(regions).__name__} is no source; give a store's path or an object with describe()"
            )

    store: Optional[RegionSource]
    describer: Any

    def given(self, image: Any) -> Given:
        """Check a given image. Raises InputError for what is no image, or has no regions."""
        name = f"image {image}" if isinstance(image, (str, os.PathLike)) else f"an image ({type(image).__name__})"
        if self.kind == "images":
            return Given(image, check_image(image, name), name)
        if isinstance(image, RegionFeatures):
            return Given(image, image, "the given regions")
        if self.store is not None:
            return Given(image, self._key(image, name), name)
        if self.describer is None:
            raise InputError(
                f"{name}: this model reads region features; give RegionFeatures, or the pipeline regions=, a store of "
                "features or an extractor"
            )
        return Given(image, check_image(image, name), name)

    def _key(self, image: Any, name: str) -> str:
        """Return the key of an image in the store: the path or key itself, or the file name without suffix."""
        assert self.store is not None
        if not isinstance(image, (str, os.PathLike)):
            raise InputError(f"{name}: features of a store are found by file name or key; give one of them")
        keys = (str(image), image_key(str(image)))
        found = next((key for key in keys if key in self.store), None)
        if found is None:
            raise InputError(f"{self.store.path} has no features for image {str(image)!r}; extract them first")
        return found

    def read(self, images: Sequence[Given]) -> list[Any]:
        """Return what the task holds: paths and Pillow images, or `RegionFeatures`."""
        if self.kind == "images":
            return [image.item for image in images]
        wanted = [n for n, image in enumerate(images) if not isinstance(image.item, RegionFeatures)]
        if self.store is not None:
            found = {n: self.store[images[n].item] for n in wanted}
        else:
            found = dict(zip(wanted, self._described([images[n] for n in wanted])))
        return [found.get(n, image.item) for n, image in enumerate(images)]

    def _described(self, images: Sequence[Given]) -> list[RegionFeatures]:
        """Describe images, those of one size together: padding would change the features of the others."""
        # Upright, as an extraction to a store describes them.
        arrays = [np.asarray(opened_image(image.item, upright=True)) for image in images]
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, array in enumerate(arrays):
            groups[array.shape].append(number)
        found: dict[int, RegionFeatures] = {}
        for numbers in groups.values():
            found.update(zip(numbers, self.describer.describe([arrays[n] for n in numbers])))
        empty = next((number for number, regions in found.items() if not len(regions)), None)
        if empty is not None:
            raise InputError(f"{images[empty].name}: no region was found in it; give another image, or its regions")
        return [found[number] for number in range(len(arrays))]


def listed(values: Any) -> Optional[list[Any]]:
    """Return several values as a list; None for a single one. An array `[n, h, w, c]` is a batch of images."""
    if isinstance(values, (list, tuple)):
        return list(values)
    return list(values) if isinstance(values, np.ndarray) and values.ndim == 4 else None


def listed_gallery(images: Any, visuals: Visuals) -> list[Any]:
    """Return the images of a folder, or a list of them; None: every image of the store.

    Raises:
        InputError: no such folder, or neither images nor a store.
    """
    if images is None and visuals.store is not None:
        return list(visuals.store)
    if isinstance(images, (str, os.PathLike)):
        folder = Path(images).expanduser()
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of images")
        return [folder / relative for relative in ImageListing([folder])]
    found = listed(images)
    if found is None:
        kind = "an image" if isinstance(images, (Image.Image, np.ndarray)) else type(images).__name__
        raise InputError(f"a gallery is a folder or a list of images, found {kind}")
    return found
