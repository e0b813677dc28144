"""Region features that are in memory, as a source: what batches are made of that no file is read for."""

from __future__ import annotations

from collections.abc import Sequence

from pyutils.data.features.keys import KeyIndex
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import RegionFeatures


class HeldRegions(RegionSource):
    """The regions of some images, one after the other; `places` are their keys here.

    An image may be there twice. `names` (one an image) are what the images are called outside.
    """

    format = "held"

    def __init__(self, images: Sequence[RegionFeatures], names: Sequence[str]) -> None:
        super().__init__(f"pairs {', '.join(names[:3])}{', …' if len(names) > 3 else ''}")
        self._images = list(images)
        width = len(str(len(self._images)))
        # Keys are numbers of one width, so that their order as text is their order here.
        self.places = [f"#{number:0{width}d}" for number in range(len(self._images))]

    def _load_index(self) -> KeyIndex:
        return KeyIndex.sort(self.places, str(self.path))[0]

    def _locate(self, position: int) -> Entry:
        image = self._images[position]
        return Entry(len(image), lambda: image)
