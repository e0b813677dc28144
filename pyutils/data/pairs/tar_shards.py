"""Pairs in tar shards, WebDataset's convention: files that share a name up to the first dot make a sample.

A sample has its caption in `KEY.txt` or `KEY.json` ({"caption": text or list}), and `KEY.jpg` (or png, webp) or
`KEY.npz` (region features) or both.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pyarrow as pa

from pyutils.data.pairs.pair import Pair, PairSource, captions_of_json, decode_regions
from pyutils.data.pairs.tar_index import default_folder, load_index
from pyutils.errors import InputError

_PICTURES = ("jpg", "jpeg", "png", "webp")


class TarShards(PairSource):
    """The pairs of `shards`, in the order of the files. `cache` is the folder of the index.

    Reading a pair opens its shard and reads its bytes only; nothing is kept, so any number of workers may share one.
    Raises InputError for a shard that cannot be read (at once), and for a sample without caption (when it is read).
    """

    def __init__(self, shards: Sequence[Path], cache: Optional[Path] = None) -> None:
        self.shards = [Path(shard) for shard in shards]
        self.cache = cache or default_folder()
        self._length = self._index.num_rows

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_index"}

    @cached_property
    def _index(self) -> pa.Table:
        return load_index(self.shards, self.cache)

    @cached_property
    def shard_starts(self) -> np.ndarray:
        """See PairSource."""
        counts = np.zeros(len(self.shards), dtype=np.int64)
        for chunk in self._index.column("shard").chunks:
            counts += np.bincount(chunk.to_numpy(), minlength=len(self.shards))
        return np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index):
        """The pair at `index` (IndexError outside)."""
        where, key, found = self._read(index, texts_only=False)
        picture = next((found[extension] for extension in _PICTURES if extension in found), None)
        regions = decode_regions(found["npz"], f"{where}, {key}.npz") if "npz" in found else None
        return Pair(key, _captions(found, f"{where}, sample {key}"), picture, regions)

    def captions(self, index: int) -> tuple[str, ...]:
        """See PairSource."""
        where, key, found = self._read(index, texts_only=True)
        return _captions(found, f"{where}, sample {key}")

    def _read(self, index: int, texts_only: bool) -> tuple[str, str, dict[str, bytes]]:
        """(shard, key, {extension: content}) of a sample."""
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        row = self._index.slice(place % len(self), 1).to_pylist()[0]
        shard = self.shards[row["shard"]]
        wanted = ("txt", "json") if texts_only else ("txt", "json", "npz", *_PICTURES)
        found = {}
        with shard.open("rb", buffering=0) as stream:
            for member in row["members"]:
                if member["extension"] in wanted:
                    stream.seek(member["offset"])
                    found[member["extension"]] = stream.read(member["size"])
        return str(shard), row["key"], found


def _captions(found: dict[str, bytes], where: str) -> tuple[str, ...]:
    if "json" in found:
        return captions_of_json(found["json"], where)
    if "txt" not in found:
        raise InputError(f"{where}: there is no caption: expected a .txt or .json beside the other files of the sample")
    try:
        return (found["txt"].decode("utf-8").strip(),)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: the caption is not UTF-8 text (byte {error.start})") from error
