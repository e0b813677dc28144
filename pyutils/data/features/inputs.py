"""Region features as a task's input: their files, the number of regions, and missing images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pyutils.config import setting
from pyutils.config.checks import at_least
from pyutils.console import say
from pyutils.data.features import RegionBatch, RegionFeatures, RegionSource, keep_available, open_regions
from pyutils.data.features.source import HeldRegions
from pyutils.data.table import RecordTable
from pyutils.errors import InputError


@dataclass(frozen=True)
class RegionSourceConfig:
    """Where region features are."""

    path: str = setting("", "Folder, LMDB, HDF5, TSV or packed store of region features.")
    format: str = setting("", "Name of the format; empty: detected from the files.")
    detector: str = setting("", "Detector the model expects; empty: any.")
    missing: Literal["error", "skip"] = setting("error", "Records without image features: raise an error, or skip.")


@dataclass(frozen=True)
class RegionConfig(RegionSourceConfig):
    """The `regions:` section of a configuration."""

    max_regions: int = setting(100, "Maximum number of regions per image; the rest is cut.")

    def __post_init__(self) -> None:
        at_least(self, 1, "max_regions")


class RegionInputs:
    """Read the regions of batches of images as model input.

    Args:
        config: see `RegionConfig`; the source is opened and checked at once.
        dimension: feature dimension the model expects.
        multiple: round the number of regions of a batch up to a multiple (8 on GPUs).
        recipes: dimension -> name of the configuration for such features, for messages.

    Without `config.path` there are no features until `hold` is given some.

    Raises:
        InputError: no features at the path, or another dimension or detector than expected.
    """

    def __init__(
        self,
        config: RegionConfig,
        dimension: int,
        multiple: int = 1,
        recipes: Mapping[int, str] | None = None,
        image_input: str = "shown",
    ):
        self.image_input = image_input
        self.config, self.dimension, self.multiple = config, dimension, multiple
        self.source: RegionSource = HeldRegions([], [])
        self._needs_boxes = False
        if config.path:
            self._open(open_regions(Path(config.path).expanduser(), config.format or None), recipes)

    def _open(self, source: RegionSource, recipes: Mapping[int, str] | None) -> None:
        config, dimension, found = self.config, self.dimension, source.spec
        if found.dimension != dimension and recipes and found.dimension in recipes:
            raise InputError(
                f"expected {dimension}-d regions, {config.path} holds {found.dimension}-d ones of detector "
                f"'{found.detector}': give the features this configuration is for, take {recipes[found.dimension]}, or "
                f"train new weights for them with --set model.visual_dim={found.dimension}"
            )
        source.check(dimension, config.detector or None)
        source.check_boxes()
        self.source = source

    def require(self, boxes: bool = False, class_probs: bool = False) -> None:
        """Raise InputError if the features lack boxes or class probabilities; boxes also for those of `hold`."""
        self._needs_boxes = boxes
        if self.config.path:
            self.source.check(boxes=boxes, class_probs=class_probs)

    def hold(self, images: Sequence[RegionFeatures], names: Sequence[str]) -> list[str]:
        """Read these regions from now on; `names` of the images are for messages. Returns the images' keys.

        Raises:
            InputError: features of another dimension than the model expects, or without the boxes that it needs.
        """
        for image, name in zip(images, names):
            if self._needs_boxes and image.boxes is None:
                raise InputError(f"{name}: the regions have no boxes, which the model needs; give features with boxes")
            if image.features.ndim != 2 or image.features.shape[1] != self.dimension:
                raise InputError(
                    f"{name}: expected regions [regions, {self.dimension}] of the model, found "
                    f"{list(image.features.shape)}; give the features that it was trained on"
                )
        source = HeldRegions(images, names)
        self.source = source
        return source.keys

    def available(self, records: RecordTable, *fields: str, section: str = "regions") -> RecordTable:
        """Select the records whose images, named by `fields`, have features.

        `config.missing` decides about the others; messages name it as a setting of `section`.
        """
        if not self.config.path:
            raise InputError(f"{section}.path is empty: give the region features of the images")

        columns = [records.column(name) for name in fields]
        kept = keep_available(self.source, *columns, policy=self.config.missing, option=f"{section}.missing")
        if not kept.skipped:
            return records
        say(f"{self.config.path}: {kept.describe()}")
        return records.select(kept.indices)

    def shown(self, records: RecordTable, *fields: str, seed: int = 0) -> Sequence[Any]:
        """Return `records`, with images shuffled among them if the configuration says so.

        `fields` name the records' images, default `image`.
        """
        if self.image_input != "shuffled":
            return records
        return ShuffledImages(records, fields or ("image",), seed)

    def read(self, keys: Sequence[str]) -> RegionBatch:
        """Read the regions of images `keys`: features `[batch, r, dimension]` float32, mask `[batch, r]` int64, …"""
        if self.image_input == "withheld":
            batch = len(keys)
            features = np.zeros((batch, 1, self.dimension), dtype=np.float32)
            boxes = np.zeros((batch, 1, 4), dtype=np.float32)
            return RegionBatch(features, np.ones((batch, 1), np.int64), boxes, np.ones((batch, 2), np.int64))
        return self.source.read_batch(keys, self.config.max_regions, self.multiple)


class ShuffledImages(Sequence):
    """Records with the images `fields` of other records: each image replaces the one before it in a random order, so
    no record keeps its own."""

    def __init__(self, records: RecordTable, fields: Sequence[str], seed: int):
        images = np.unique(np.concatenate([records.column(field).astype(str) for field in fields]))
        order = np.random.default_rng(seed).permutation(images)
        self._records, self._fields = records, tuple(fields)
        self._replacements = dict(zip(order.tolist(), np.roll(order, 1).tolist()))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index):
        record = self._records[index]
        return replace(record, **{field: self._replacements[getattr(record, field)] for field in self._fields})
