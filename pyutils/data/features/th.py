"""The one-file containers of VisualBERT's authors: `torch.save` of {file name: (features, boxes, confidence)}."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.data.features.keys import KeyIndex
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import FeatureSpec, RegionFeatures
from pyutils.errors import InputError
from pyutils.weights import read_object

_AUTHORS_REGIONS = 144


class ThRegions(RegionSource):
    """Region features in a `.th` file, which is held in memory as a whole: convert it to a packed store for training.

    Args:
        path: the file.
        regions: keep an image's first regions; the authors store 150 and read 144.
    """

    format = "th"

    def __init__(
        self, path: str | Path, spec: FeatureSpec | None = None, regions: int | None = _AUTHORS_REGIONS
    ) -> None:
        super().__init__(path, spec)
        self._regions = regions

    def __getstate__(self) -> dict[str, Any]:
        """The content is read again on the other side."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_content", "_order", "index")}

    @cached_property
    def _content(self) -> dict[str, Any]:
        """The whole file."""
        content = read_object(self.path)
        if not isinstance(content, dict):
            raise InputError(f"{self.path}: expected a dict of images, found {type(content).__name__}")
        return content

    @cached_property
    def _order(self) -> tuple[KeyIndex, list[str]]:
        """(index, names in its order)."""
        names = list(self._content)
        index, order = KeyIndex.sort(names, str(self.path))
        return index, [names[place] for place in order]

    def _load_index(self) -> KeyIndex:
        return self._order[0]

    def _locate(self, position: int) -> Entry:
        name = self._order[1][position]
        value = self._content[name]
        if not isinstance(value, (tuple, list)) or len(value) < 2:
            raise InputError(f"{self.path}, image '{name}': expected (features, boxes, confidence)")
        features, boxes = (np.asarray(part)[: self._regions] for part in value[:2])
        return Entry(len(features), partial(RegionFeatures, features, boxes))
