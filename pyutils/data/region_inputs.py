"""Region features as a task's input: which files, how many regions, what to do about missing ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pyutils.config import setting
from pyutils.data.features import RegionBatch, keep_available, open_regions
from pyutils.data.table import RecordTable


@dataclass(frozen=True)
class RegionConfig:
    """The `regions:` section of a configuration."""

    path: str = setting("", "Folder, LMDB, HDF5, TSV or packed store of region features.")
    format: str = setting("", "Name of the format; empty: seen from what is there.")
    detector: str = setting("", "Detector the model expects; empty: any.")
    max_regions: int = setting(100, "Most regions of an image; further ones are cut.")
    missing: Literal["error", "skip"] = setting("error", "Records whose image has no features: refuse, or leave out.")
    picture: Literal["shown", "withheld", "shuffled"] = setting(
        "shown", "Baselines: withheld gives every image one zero region, shuffled the regions of another image."
    )


class RegionInputs:
    """Reads the regions of batches of images as the model takes them.

    Args:
        config: see `RegionConfig`; the source is opened and checked at once.
        dimension: feature dimension the model expects.
        multiple: round the number of regions of a batch up to a multiple (8 on GPUs).
    Raises:
        InputError: no features there, another dimension or detector than expected.
    """

    def __init__(self, config: RegionConfig, dimension: int, multiple: int = 1):
        self.config, self.dimension, self.multiple = config, dimension, multiple
        self.source = open_regions(Path(config.path).expanduser(), config.format or None)
        self.source.check(dimension, config.detector or None)

    def available(self, records: RecordTable, *fields: str) -> RecordTable:
        """The records whose images, named by `fields`, have features; what is missing goes by `config.missing`."""
        from pyutils.engine.run_log import say

        columns = [records.column(name) for name in fields]
        kept = keep_available(self.source, *columns, policy=self.config.missing, option="regions.missing")
        if not kept.skipped:
            return records
        say(f"{self.config.path}: {kept.describe()}")
        return records.select(kept.indices)

    def shown(self, records: RecordTable, field: str = "image", seed: int = 0) -> Sequence[Any]:
        """`records` as they are, or, where the configuration says `shuffled`, with pictures dealt out anew."""
        return ShuffledPictures(records, field, seed) if self.config.picture == "shuffled" else records

    def read(self, keys: Sequence[str]) -> RegionBatch:
        """The regions of images `keys`: features `[batch, r, dimension]` float32, mask `[batch, r]` int64, …"""
        if self.config.picture == "withheld":
            batch = len(keys)
            features = np.zeros((batch, 1, self.dimension), dtype=np.float32)
            boxes = np.zeros((batch, 1, 4), dtype=np.float32)
            return RegionBatch(features, np.ones((batch, 1), np.int64), boxes, np.ones((batch, 2), np.int64))
        return self.source.read_batch(keys, self.config.max_regions, self.multiple)


class ShuffledPictures(Sequence):
    """Records whose picture `field` is that of another record: distinct pictures are rotated by a random amount of a
    random order, so that no picture keeps its place."""

    def __init__(self, records: RecordTable, field: str, seed: int):
        pictures = np.unique(records.column(field).astype(str))
        order = np.random.default_rng(seed).permutation(pictures)
        self._records, self._field = records, field
        self._instead = dict(zip(order.tolist(), np.roll(order, 1).tolist()))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index):
        record = self._records[index]
        return replace(record, **{self._field: self._instead[getattr(record, self._field)]})
