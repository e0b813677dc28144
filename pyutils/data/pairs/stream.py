"""Reading shards in their order, mixed within a window: for disks on which jumping about is slow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pyutils.data.pairs.pair import Pair, PairSource
from pyutils.errors import InputError

_SHARDS, _WINDOWS = 0, 1  # streams of random numbers drawn from one seed


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
