"""Plain values of a pickle: the keys, data types and arrays that one may contain, and what takes NumPy's place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_KINDS = "biufcSUO?"
_MOST_AXES = 64  # of NumPy 2
_LONGEST_SHOWN = 60
_LARGEST_KEY, _LARGEST_IN_TUPLE, _LONGEST_TUPLE = 1 << 60, 1 << 31, 4


class Misuse(Exception):
    """A pickle calls an allowed function, or uses a value, as no data file does. `allowed` functions may raise it."""


class NotRead(Misuse):
    """A pickle contains valid data of a kind that is not supported; the text says which, and what to do."""


def brief(value: Any) -> str:
    """Return a short text of a pickle's value for an error message, in no time whatever the value is.

    Text, bytes and numbers as Python writes them, shortened; of everything else the type, and the length of a
    container: `repr` of a tuple that holds one tuple twice, and that another one twice, would not end.
    """
    if isinstance(value, (str, bytes)):
        shown = repr(value[:_LONGEST_SHOWN])
        return shown if len(value) <= _LONGEST_SHOWN else f"{shown}…"
    if isinstance(value, int) and not -(1 << 128) < value < 1 << 128:
        return "a huge number"
    if value is None or isinstance(value, (int, float)):
        return repr(value)
    length = f" of {len(value)}" if isinstance(value, (tuple, list, dict, set, frozenset)) else ""
    return f"a {type(value).__name__}{length}"


def enter(mapping: Any, items: list[Any]) -> dict:
    """Put `items`, alternating keys and values, into a dictionary and return it."""
    if type(mapping) not in (dict, OrderedDict) or len(items) % 2:
        raise Misuse("entries of what is no dictionary")
    mapping.update(zip(checked_keys(items[::2]), items[1::2]))
    return mapping


def checked_keys(keys: Sequence[Any]) -> Sequence[Any]:
    """Return `keys` where all are cheap to hash and none was chosen to collide, Misuse otherwise."""
    for key in keys:
        if type(key) is not str and not _is_key(key):
            raise Misuse(
                f"{brief(key)} as a key or a member of a set: expected text, a number or a short tuple of these"
            )
    return keys


def _is_key(value: Any) -> bool:
    if isinstance(value, np.generic) and value.dtype.kind in "biufSU":
        value = value.item()
    if type(value) is tuple:
        return len(value) <= _LONGEST_TUPLE and all(map(_is_in_tuple, value))
    if type(value) in (int, float):
        return -_LARGEST_KEY < value < _LARGEST_KEY  # not NaN: before Python 3.10 they all collide
    return value is None or type(value) in (str, bytes, bool)


def _is_in_tuple(value: Any) -> bool:
    if type(value) is int:
        return -_LARGEST_IN_TUPLE < value < _LARGEST_IN_TUPLE
    return value is None or type(value) in (str, bytes, bool)


class DType:
    """A NumPy data type: its name, and the byte order that its pickled state adds."""

    def __init__(self, description: Any, align: Any = False, copy: Any = True) -> None:
        if isinstance(description, bytes):
            description = description.decode("ascii", errors="replace")
        short = isinstance(description, str) and 1 < len(description) < 12
        if not short or description[0] not in _KINDS or not description[1:].isdigit():
            raise Misuse(f"unusual data type {brief(description)}")
        self.dtype = np.dtype(description)

    def set_state(self, state: Any) -> None:
        """Take over the byte order of a data type's pickled state."""
        plain = isinstance(state, tuple) and 5 <= len(state) <= 9 and state[1] in ("<", ">", "|", "=")
        if not plain or any(part is not None for part in state[2:5]):
            raise Misuse("structured data type")
        if state[1] in "<>":
            self.dtype = self.dtype.newbyteorder(state[1])


def fill(array: np.ndarray, state: Any) -> None:
    """Give an empty array of `_reconstruct` its pickled state, which NumPy itself would not check."""
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], DType):
        raise Misuse("array with an unusual state")
    version, shape, dtype, fortran, content = state
    size, dtype = array_size(shape), dtype.dtype
    if isinstance(content, str):
        content = _encode(content)  # bytes of Python 2, read as latin1
    fits = len(content) == size * (1 if dtype.hasobject else dtype.itemsize)
    if not isinstance(content, list if dtype.hasobject else bytes) or not fits:
        raise Misuse("array whose content does not fit its shape")
    checked: Any = (version, shape, dtype, bool(fortran), content)
    array.__setstate__(checked)


def array_size(shape: Any) -> int:
    """Return the number of elements of a shape. Misuse where it is none."""
    # The number of axes first: a product of very many takes hours.
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
        raise Misuse(f"array whose shape is {brief(shape)}")
    size = 1
    for length in shape:
        if not isinstance(length, int) or not 0 <= length < 1 << 128:
            raise Misuse(f"array with an axis of {brief(length)}")
        size *= length
    return size


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, by which Python 3 writes bytes into protocol 2; other codecs can do far more than encode."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Misuse(f"encoding with {brief(encoding)}")
    return text.encode("latin1")


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> np.ndarray:
    """An empty array that its state will fill. NumPy's own would instantiate any class."""
    if kind is not _NDARRAY or shape != (0,) or typecode not in (b"b", "b"):
        raise Misuse("array of an unusual class")
    return np.empty(0, dtype=np.int8)


def _scalar(dtype: Any, content: Any) -> Any:
    """A NumPy scalar from its bytes."""
    raw = _encode(content) if isinstance(content, str) else content
    if not isinstance(dtype, DType) or dtype.dtype.hasobject or not isinstance(raw, bytes):
        raise Misuse("scalar with unusual arguments")
    if len(raw) != dtype.dtype.itemsize:
        raise Misuse("scalar of the wrong length")
    return np.frombuffer(raw, dtype=dtype.dtype)[0]


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """An array of protocol 5, its data inside the file."""
    if not isinstance(content, (bytes, bytearray)) or not isinstance(dtype, DType) or order not in ("C", "F"):
        raise Misuse("array with unusual arguments")
    if dtype.dtype.hasobject or array_size(shape) * dtype.dtype.itemsize != len(content):
        raise Misuse("array whose content does not fit its shape")
    return np.frombuffer(content, dtype=dtype.dtype).reshape(shape, order=order)


def _bytes(*arguments: Any) -> bytes:
    """Empty bytes of protocol 2; `bytes(n)` would take any amount of memory."""
    if arguments:
        raise Misuse("bytes with arguments")
    return b""


def _bytearray(content: Any = b"", encoding: Any = "latin1") -> bytearray:
    return bytearray(content if isinstance(content, bytes) else _encode(content, encoding))


def _ordered(items: Any = ()) -> dict:
    pairs = isinstance(items, (list, tuple)) and all(type(pair) in (list, tuple) and len(pair) == 2 for pair in items)
    if not pairs:
        raise Misuse("dictionary with unusual arguments")
    return enter(OrderedDict(), [part for pair in items for part in pair])


def _set_of(make: Callable[[Sequence[Any]], Any]) -> Callable[..., Any]:
    def build(items: Any = ()) -> Any:
        if not isinstance(items, (list, tuple)):
            raise Misuse("container with unusual arguments")
        return make(checked_keys(items))

    return build


def _complex(real: Any, imaginary: Any) -> complex:
    return complex(float(real), float(imaginary))


_NDARRAY = object()


def _functions() -> dict[str, Any]:
    """Every name that a pickle may use, and what takes its place."""
    table: dict[str, Any] = {
        "_codecs.encode": _encode,
        "collections.OrderedDict": _ordered,
        "numpy.ndarray": _NDARRAY,
        "numpy.dtype": DType,
    }
    for module in ("numpy.core", "numpy._core"):
        table[f"{module}.multiarray._reconstruct"] = _reconstruct
        table[f"{module}.multiarray.scalar"] = _scalar
        table[f"{module}.numeric._frombuffer"] = _from_buffer
    for module in ("builtins", "__builtin__"):
        table[f"{module}.set"] = _set_of(set)
        table[f"{module}.frozenset"] = _set_of(frozenset)
        table[f"{module}.bytes"] = _bytes
        table[f"{module}.bytearray"] = _bytearray
        table[f"{module}.complex"] = _complex
    return table


FUNCTIONS = _functions()
