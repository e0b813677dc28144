"""Images read as region features: the window descriptor is applied when an image is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from pyutils.data.features.keys import KeyIndex
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import FeatureSpec, RegionFeatures
from pyutils.data.features.window_descriptor import (
    DETECTOR,
    DIMENSION,
    PROVENANCE,
    WINDOWS,
    describe_windows,
    window_boxes,
)
from pyutils.data.image_listing import IMAGE_SUFFIXES, ImageListing
from pyutils.data.images import Images

SPEC = FeatureSpec(DIMENSION, DETECTOR, WINDOWS, provenance=PROVENANCE)


class WindowDescriber:
    """Describes decoded images by their 35 windows, `[35, 192]` float32 each."""

    spec = SPEC

    def describe(self, images: Sequence[np.ndarray]) -> list[RegionFeatures]:
        """Return the regions of RGB images `[h, w, 3]` uint8 of any size."""
        found = []
        for image in images:
            height, width = image.shape[:2]
            found.append(RegionFeatures(describe_windows(image[None])[0], window_boxes(width, height), width, height))
        return found


class WindowedImages(RegionSource):
    """Region features of the image files of a folder, described when they are read.

    A key is the path of an image file, or the name of one below the folder, with or without suffix. The folder is
    listed when the first name is looked up.
    """

    format = "windows"

    @cached_property
    def spec(self) -> FeatureSpec:
        """Description of the window descriptor's features."""
        return SPEC

    @cached_property
    def _listed(self) -> tuple[KeyIndex, list[Path]]:
        files = [self.path / relative for relative in ImageListing([self.path])]
        index, order = KeyIndex.sort([file.stem for file in files], str(self.path))
        return index, [files[position] for position in order]

    def _load_index(self) -> KeyIndex:
        return self._listed[0]

    def check_boxes(self) -> None:
        """Do nothing: the boxes are computed, and listing the folder can wait until a name is looked up."""

    def __contains__(self, key: str | int) -> bool:
        return _is_image(key) or super().__contains__(key)

    def missing(self, keys: Iterable[str | int]) -> list[str]:
        """List those of `keys` that are missing, in their order, each once."""
        named = [key for key in keys if not _is_image(key)]
        return super().missing(named) if named else []

    def _entries(self, keys: Sequence[str | int]) -> list[Entry]:
        named = [key for key in keys if not _is_image(key)]
        found = dict(zip(named, super()._entries(named))) if named else {}  # else the folder is not listed
        return [found[key] if key in found else _entry(Path(str(key))) for key in keys]

    def _locate(self, position: int) -> Entry:
        return _entry(self._listed[1][position])


def _is_image(key: str | int) -> bool:
    path = Path(str(key))
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _entry(file: Path) -> Entry:
    return Entry(WINDOWS, partial(_described, file))


def _described(file: Path) -> RegionFeatures:
    return WindowDescriber().describe([np.asarray(Images.decode(file))])[0]
