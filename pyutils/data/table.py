"""Records kept in columns: millions of them without a Python object each, shared by forked data workers.

Python objects have reference counts, so a forked worker that only reads a list of records copies its memory. Arrow
buffers have none: workers share them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any, Callable, Generic, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pyutils.errors import InputError

Record = TypeVar("Record")

_CHUNK = 8192
_MISFITS = (ValueError, TypeError, OverflowError, AttributeError)
_SCALARS = {str: pa.large_string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.large_binary()}


class _Kind(NamedTuple):
    """How a field's values are stored; `encode` and `decode` are None where values are stored unchanged."""

    arrow: pa.DataType
    nullable: bool = False
    encode: Callable[[Any], Any] | None = None
    decode: Callable[[Any], Any] | None = None


class RecordTable(Sequence[Record], Generic[Record]):
    """An immutable sequence of records of one dataclass over an Arrow table.

    `table[i]` builds the record; `table[a:b]` and `concat` copy nothing. Fields may be str, int (64 bits), float, bool,
    `Optional` of those, `Union[int, str]`, tuples (`tuple[X, ...]`, or a fixed number of one X), and dataclasses of
    such fields. Records are read from the iterable in chunks, so a generator of any length keeps few Python objects
    alive.

    Raises:
        InputError: a value is not of the declared type; names the field and the record.
        TypeError: a field type cannot be stored in a column.
    """

    def __init__(self, cls: type[Record], records: Iterable[Record] = ()) -> None:
        kinds = _kinds(cls)
        schema = pa.schema([pa.field(name, kind.arrow) for name, kind in kinds.items()])
        remaining = iter(records)
        batches: list[pa.RecordBatch] = []
        while chunk := list(islice(remaining, _CHUNK)):
            first = len(batches) * _CHUNK
            arrays = [_column(cls, name, kind, chunk, first) for name, kind in kinds.items()]
            batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
        self._bind(cls, pa.Table.from_batches(batches, schema))

    def _bind(self, cls: type[Record], table: pa.Table) -> None:
        self.cls = cls
        self._kinds = _kinds(cls)
        self._table = table
        self._columns = tuple(table.column(name) for name in self._kinds)

    @classmethod
    def _of(cls, record_class: type[Record], table: pa.Table) -> RecordTable[Record]:
        made = cls.__new__(cls)
        made._bind(record_class, table)
        return made

    def __len__(self) -> int:
        return self._table.num_rows

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> RecordTable[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | RecordTable[Record]:
        """The record at `index` (negative from the end; IndexError outside), or a table of a slice."""
        if isinstance(index, slice):
            rows = range(len(self))[index]
            return self._of(self.cls, self._table.slice(rows.start, len(rows))) if rows.step == 1 else self.select(rows)
        position = range(len(self))[index]
        return self.cls(
            *(_decoded(kind, column[position].as_py()) for kind, column in zip(self._kinds.values(), self._columns))
        )

    def __iter__(self) -> Iterator[Record]:
        for batch in self._table.to_batches(max_chunksize=_CHUNK):
            columns = [
                _decoded_all(kind, batch.column(position).to_pylist())
                for position, kind in enumerate(self._kinds.values())
            ]
            yield from (self.cls(*values) for values in zip(*columns))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordTable):
            return NotImplemented
        return self.cls is other.cls and self._table.equals(other._table)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        # The stream format writes the rows of this table only, where pickling a slice would write what it is cut from.
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._table.schema) as writer:
            writer.write_table(self._table)
        return _unpickle, (self.cls, sink.getvalue().to_pybytes())

    def select(self, indices: Iterable[int] | np.ndarray) -> RecordTable[Record]:
        """Select the records at `indices`, in that order, with repeats; or those where a boolean array [len] is True.

        Raises:
            IndexError: an index is outside the table, or a boolean array has another length.
        """
        chosen = indices if isinstance(indices, np.ndarray) else np.array(list(indices), dtype=np.int64)
        return self._of(self.cls, self._table.take(pa.array(np.arange(len(self))[chosen])))

    def distinct(self, *names: str) -> Iterator[str]:
        """Yield the different values of the text fields `names` together, sorted by code points.

        Few Python objects are alive at a time.
        """
        chunks = [chunk for name in names for chunk in self._table.column(name).chunks]
        values = pc.unique(pa.chunked_array(chunks, type=_SCALARS[str]))
        values = values.take(pc.sort_indices(values))
        for start in range(0, len(values), _CHUNK):
            yield from values.slice(start, _CHUNK).to_pylist()

    def column(self, name: str) -> np.ndarray:
        """One field of all records: [len] int64, float64 or bool; object (str, tuple, None …) for other types."""
        kind = self._kinds[name]
        column = self._table.column(name)
        if kind.decode is None and not kind.nullable and not pa.types.is_large_string(kind.arrow):
            return column.to_numpy()
        values = np.empty(len(self), dtype=object)
        values[:] = _decoded_all(kind, column.to_pylist())
        return values


def concat(tables: Sequence[RecordTable[Record]]) -> RecordTable[Record]:
    """Join `tables` (at least one, of one record class), e.g. train2014 followed by val2014; nothing is copied."""
    return RecordTable._of(tables[0].cls, pa.concat_tables([table._table for table in tables]))


def _unpickle(cls: type[Record], stream: bytes) -> RecordTable[Record]:
    with pa.ipc.open_stream(stream) as reader:
        return RecordTable._of(cls, reader.read_all())


def _column(cls: type, name: str, kind: _Kind, chunk: list[Any], first: int) -> pa.Array:
    """The field `name` of `chunk`, whose records are numbered from `first` in messages."""
    values = [getattr(record, name) for record in chunk]
    try:
        return _array(kind, values)
    except _MISFITS:
        for number, value in enumerate(values, first):
            try:
                _array(kind, [value])
            except _MISFITS as error:
                raise InputError(f"{cls.__name__}.{name}: {value!r:.100} of record {number}: {error}") from None
        raise


def _array(kind: _Kind, values: list[Any]) -> pa.Array:
    if not kind.nullable and None in values:
        raise TypeError("a value is missing")
    encoded = values if kind.encode is None else [None if v is None else kind.encode(v) for v in values]
    return pa.array(encoded, type=kind.arrow)


def _decoded(kind: _Kind, value: Any) -> Any:
    return value if kind.decode is None or value is None else kind.decode(value)


def _decoded_all(kind: _Kind, values: list[Any]) -> list[Any]:
    if kind.decode is None:
        return values
    return [None if value is None else kind.decode(value) for value in values]


def _kinds(cls: type) -> dict[str, _Kind]:
    """The storage of each field of the dataclass `cls`, in the order of its constructor."""
    hints = get_type_hints(cls)
    return {field.name: _kind(hints[field.name], f"{cls.__name__}.{field.name}") for field in fields(cls)}


def _kind(hint: Any, where: str) -> _Kind:
    if hint in _SCALARS:
        # Without operator.index, Arrow would silently truncate 1.5 to 1.
        return _Kind(_SCALARS[hint], encode=operator.index if hint is int else None)
    if isinstance(hint, type) and is_dataclass(hint):
        return _struct_kind(hint)
    arguments = get_args(hint)
    if get_origin(hint) is Union:
        options = [option for option in arguments if option is not type(None)]
        inner = _int_or_str() if set(options) == {int, str} else _kind(options[0], where) if len(options) == 1 else None
        if inner is not None:
            return inner._replace(nullable=len(options) < len(arguments))
    elif get_origin(hint) is tuple and arguments:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return _tuple_kind(_kind(arguments[0], where), pa.large_list)
        if len(set(arguments)) == 1:
            return _tuple_kind(_kind(arguments[0], where), lambda item: pa.list_(item, len(arguments)))
    raise TypeError(f"{where}: a column cannot hold {hint}")


def _tuple_kind(item: _Kind, make: Callable[[pa.DataType], pa.DataType]) -> _Kind:
    encode, decode = item.encode, item.decode
    return _Kind(
        make(item.arrow),
        encode=None if encode is None else lambda value: [encode(entry) for entry in value],
        decode=tuple if decode is None else lambda value: tuple([decode(entry) for entry in value]),
    )


def _struct_kind(cls: type) -> _Kind:
    kinds = _kinds(cls)

    def encode(value: Any) -> dict[str, Any]:
        return {
            name: entry if kind.encode is None or entry is None else kind.encode(entry)
            for name, kind in kinds.items()
            for entry in (getattr(value, name),)
        }

    def decode(value: dict[str, Any]) -> Any:
        return cls(*(_decoded(kind, value[name]) for name, kind in kinds.items()))

    return _Kind(pa.struct([(name, kind.arrow) for name, kind in kinds.items()]), encode=encode, decode=decode)


def _int_or_str() -> _Kind:
    return _Kind(
        pa.struct([("number", pa.int64()), ("text", pa.large_string())]),
        encode=lambda value: {"text": value} if isinstance(value, str) else {"number": operator.index(value)},
        decode=lambda value: value["number"] if value["text"] is None else value["text"],
    )
