"""Image-text pairs, the interface of every collection of them, and reading one in shard order."""

from __future__ import annotations

import io
import json
import zipfile
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from pyutils.data.features.spec import RegionFeatures
from pyutils.errors import InputError

_SHARDS, _WINDOWS = 0, 1  # streams of random numbers drawn from one seed


@dataclass(frozen=True)
class Pair:
    """An image and its captions (at least one).

    `image` is its key. `content` is the image file, `regions` are its region features; each is None where the
    collection does not hold it.
    """

    image: str
    captions: tuple[str, ...]
    content: Optional[bytes] = None
    regions: Optional[RegionFeatures] = None


class PairSource(Sequence[Pair]):
    """A sequence of pairs, cheap to send to a data worker. `pairs[i]` reads one pair from disk."""

    @property
    @abstractmethod
    def shard_starts(self) -> np.ndarray:
        """[shards + 1] int64: the first pair of each shard, then the number of pairs."""

    @abstractmethod
    def captions(self, index: int) -> tuple[str, ...]:
        """The captions of a pair alone, without reading its image."""


def decode_regions(content: bytes, where: str) -> RegionFeatures:
    """Region features of an `.npz`: features [n, d], boxes [n, 4] (left, top, right, bottom in pixels), image_w and
    image_h, optionally cls_prob [n, classes]. InputError naming `where` for anything else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise InputError(f"{where}: cannot be read as an npz of region features: {error}") from error
    missing = [name for name in ("features", "boxes", "image_w", "image_h") if name not in arrays]
    if missing:
        raise InputError(f"{where}: lacks {missing[0]!r}; found {', '.join(arrays) or 'nothing'}")
    features, boxes, probs = arrays["features"], arrays["boxes"], arrays.get("cls_prob")
    if features.ndim != 2 or boxes.shape != (len(features), 4) or (probs is not None and len(probs) != len(features)):
        raise InputError(f"{where}: features {features.shape}, boxes {boxes.shape} and cls_prob do not fit together")
    return RegionFeatures(
        features.astype(np.float32),
        boxes.astype(np.float32),
        int(arrays["image_w"]),
        int(arrays["image_h"]),
        None if probs is None else probs.astype(np.float32),
    )


def encode_regions(regions: RegionFeatures, dtype: str = "float16") -> bytes:
    """The inverse of `decode_regions`; features and class distributions are stored as `dtype`."""
    arrays = {
        "features": regions.features.astype(dtype),
        "boxes": np.zeros((len(regions), 4), np.float32) if regions.boxes is None else regions.boxes,
        "image_w": np.int64(regions.width),
        "image_h": np.int64(regions.height),
    }
    if regions.class_probs is not None:
        arrays["cls_prob"] = regions.class_probs.astype(dtype)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def captions_of_json(content: bytes, where: str) -> tuple[str, ...]:
    """ "caption" of a JSON object, a text or a list of them. InputError naming `where` for anything else."""
    try:
        entry = json.loads(content)
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON: {error}") from error
    found = entry.get("caption") if isinstance(entry, dict) else None
    texts = (found,) if isinstance(found, str) else tuple(found) if isinstance(found, list) else ()
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f'{where}: expected an object with "caption", a text or a list of texts')
    return texts


@dataclass(frozen=True)
class PairStream:
    """One reader's share of an epoch: whole shards in random order, pairs mixed within windows of `window`.

    Reader `worker` of `workers` on process `rank` of `world` takes every (world · workers)-th shard of the epoch's
    order, so that all together read each pair once. The order is a pure function of the fields: reading can begin at
    any place, and nothing but a window of positions is held.

    Raises InputError when there are fewer shards than readers.
    """

    pairs: PairSource
    seed: int = 0
    epoch: int = 0
    rank: int = 0
    world: int = 1
    worker: int = 0
    workers: int = 1
    window: int = 4096

    def __post_init__(self) -> None:
        shards, readers = len(self.pairs.shard_starts) - 1, self.world * self.workers
        if shards < readers:
            raise InputError(
                f"{shards} shards for {self.world} process(es) x {self.workers} worker(s): some would read nothing. "
                "Write more and smaller shards, or use fewer workers"
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def _shards(self) -> np.ndarray:
        """[own shards] int64 in reading order."""
        order = np.random.default_rng([_SHARDS, self.seed, self.epoch]).permutation(len(self.pairs.shard_starts) - 1)
        return order[self.rank * self.workers + self.worker :: self.world * self.workers]

    @property
    def _ends(self) -> np.ndarray:
        """[own shards] int64: how many pairs have been read at the end of each."""
        return np.cumsum(np.diff(self.pairs.shard_starts)[self._shards])

    def positions(self, start: int = 0) -> Iterator[int]:
        """Positions in `pairs`, from place `start` of this share to its end."""
        shards, ends = self._shards, self._ends
        begins = ends - np.diff(self.pairs.shard_starts)[shards]
        for window in range(start // self.window, -(-len(self) // self.window)):
            first = window * self.window
            places = np.arange(first, min(first + self.window, len(self)))
            rng = np.random.default_rng([_WINDOWS, self.seed, self.epoch, self.rank, self.worker, window])
            own = np.searchsorted(ends, places, side="right")
            found = rng.permutation(self.pairs.shard_starts[shards[own]] + places - begins[own])
            yield from found[max(0, start - first) :].tolist()

    def read(self, start: int = 0) -> Iterator[tuple[int, Pair]]:
        """(place, pair) from place `start`; a reader that stopped after place p goes on with `read(p + 1)`."""
        for place, position in enumerate(self.positions(start), start):
            yield place, self.pairs[position]
