"""Pairs in memory-mapped Arrow files (IPC file or stream format): columns `key`, `caption`, and `image` or `regions`.

`caption` is text or a list of texts, `image` the bytes of an image file, `regions` the bytes of an npz of region
features (`pyutils.data.pairs.pair.decode_regions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pyutils.data.pairs.pair import Pair, PairSource, decode_regions
from pyutils.errors import InputError


class ArrowPairs(PairSource):
    """The pairs of Arrow files, in the order of the files.

    Raises:
        InputError: a file is not an Arrow file or lacks a column; when it is read, a pair without caption.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = [Path(file) for file in files]
        self._starts = np.concatenate([[0], np.cumsum([table.num_rows for table in self._tables])]).astype(np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_tables"}

    @cached_property
    def _tables(self) -> list[pa.Table]:
        return [_open(file) for file in self.files]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index):
        where, row = self._row(index, ("key", "caption", "image", "regions"))
        regions = row.get("regions")
        return Pair(
            str(row["key"]),
            _captions(row, where),
            row.get("image"),
            None if regions is None else decode_regions(regions, where),
        )

    def captions(self, index: int) -> tuple[str, ...]:
        where, row = self._row(index, ("caption",))
        return _captions(row, where)

    def _row(self, index: int, columns: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """(file and row for messages, {column: value}) of a pair."""
        position = range(len(self))[index]
        number = int(np.searchsorted(self._starts, position, side="right") - 1)
        table, row = self._tables[number], position - int(self._starts[number])
        present = [name for name in columns if name in table.column_names]
        where = f"{self.files[number]}, row {row}"
        try:
            return where, {name: table[name][row].as_py() for name in present}
        except ValueError as error:  # text that is not UTF-8
            raise InputError(f"{where} cannot be read: {error}; write the file again") from error


def _open(file: Path) -> pa.Table:
    try:
        source = pa.memory_map(str(file))
        try:
            table = pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            table = pa.ipc.open_stream(source).read_all()
        for name in table.column_names:
            for chunk in table[name].chunks:
                _check_offsets(chunk)
    except (OSError, ValueError, LookupError, TypeError, NotImplementedError, pa.ArrowException) as error:
        raise InputError(f"{file}: cannot be read as an Arrow file: {error}") from error
    missing = [name for name in ("key", "caption") if name not in table.column_names]
    if missing:
        raise InputError(f"{file}: there is no column {missing[0]!r}; found {', '.join(table.column_names)}")
    return table


def _check_offsets(array: pa.Array) -> None:
    """Raise ArrowInvalid where an entry would be outside the file: Arrow reads it unchecked, which ends the process.

    Of text, bytes and lists only the offsets are read, 8 bytes per row, not the images.
    """
    array.validate()
    kind = array.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    wide = pa.types.is_large_list(kind) or pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    if not (is_list or wide or pa.types.is_string(kind) or pa.types.is_binary(kind)):
        array.validate(full=True)
        return
    if not len(array):
        return
    width, buffers = (8 if wide else 4), array.buffers()
    offsets = np.frombuffer(buffers[1], np.dtype(f"i{width}"), len(array) + 1, array.offset * width)
    end = len(array.values) if is_list else (buffers[2].size if buffers[2] is not None else 0)
    if offsets[0] < 0 or offsets[-1] > end or np.any(offsets[1:] < offsets[:-1]):
        raise pa.ArrowInvalid(f"offsets of a column {kind} are outside its data")
    if is_list:
        _check_offsets(array.values)


def _captions(row: dict[str, Any], where: str) -> tuple[str, ...]:
    found = row["caption"]
    texts = (found,) if isinstance(found, str) else tuple(found or ())
    if not texts:
        raise InputError(f"{where}: there is no caption")
    return texts
