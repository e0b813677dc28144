"""Pairs in Arrow files (IPC file or stream format), mapped: columns `key`, `caption`, and `image` or `regions`.

`caption` is text or a list of texts, `image` the bytes of an image file, `regions` the bytes of an npz of region
features (`pyutils.data.pairs.pair.decode_regions`).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pyutils.data.pairs.pair import Pair, PairSource, decode_regions
from pyutils.errors import InputError


class ArrowPairs(PairSource):
    """The pairs of Arrow files, in their order. Raises InputError, naming the file, when one is no Arrow file or lacks
    a column (at once), and for a pair without caption (when it is read)."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = [Path(file) for file in files]
        self._starts = np.concatenate([[0], np.cumsum([table.num_rows for table in self._tables])]).astype(np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_tables"}

    @cached_property
    def _tables(self) -> list[pa.Table]:
        return [_open(file) for file in self.files]

    @property
    def shard_starts(self) -> np.ndarray:
        """See PairSource."""
        return self._starts

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index):
        """The pair at `index` (IndexError outside)."""
        where, row = self._row(index, ("key", "caption", "image", "regions"))
        regions = row.get("regions")
        return Pair(
            str(row["key"]),
            _captions(row, where),
            row.get("image"),
            None if regions is None else decode_regions(regions, where),
        )

    def captions(self, index: int) -> tuple[str, ...]:
        """See PairSource."""
        where, row = self._row(index, ("caption",))
        return _captions(row, where)

    def _row(self, index: int, columns: Sequence[str]) -> tuple[str, dict[str, Any]]:
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        place %= len(self)
        number = int(np.searchsorted(self._starts, place, side="right") - 1)
        table, row = self._tables[number], place - int(self._starts[number])
        present = [name for name in columns if name in table.column_names]
        return f"{self.files[number]}, row {row}", {name: table[name][row].as_py() for name in present}


def _open(file: Path) -> pa.Table:
    try:
        source = pa.memory_map(str(file))
        try:
            table = pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            table = pa.ipc.open_stream(source).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file}: cannot be read as an Arrow file: {error}") from error
    missing = [name for name in ("key", "caption") if name not in table.column_names]
    if missing:
        raise InputError(f"{file}: there is no column {missing[0]!r}; found {', '.join(table.column_names)}")
    return table


def _captions(row: dict[str, Any], where: str) -> tuple[str, ...]:
    found = row["caption"]
    texts = (found,) if isinstance(found, str) else tuple(found or ())
    if not texts:
        raise InputError(f"{where}: there is no caption")
    return texts
