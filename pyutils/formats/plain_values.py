"""Plain values of a pickle: its keys, data types and arrays, and replacements for NumPy's functions."""

from __future__ import annotations

import math
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
    """A pickle contains valid data of a kind that is not supported; the message names it and the remedy."""


def expect(plain: object, problem: str) -> None:
    """Raise Misuse(problem) unless `plain`."""
    if not plain:
        raise Misuse(problem)


def brief(value: Any) -> str:
    """Return a short text of a pickle's value for an error message.

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
    expect(type(mapping) in (dict, OrderedDict) and len(items) % 2 == 0, "entries of what is no dictionary")
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
        plain = short and description[0] in _KINDS and description[1:].isdigit()
        expect(plain, f"unusual data type {brief(description)}")
        self.dtype = np.dtype(description)

    def set_state(self, state: Any) -> None:
        """Apply the byte order of a data type's pickled state."""
        plain = isinstance(state, tuple) and 5 <= len(state) <= 9 and state[1] in ("<", ">", "|", "=")
        expect(plain and all(part is None for part in state[2:5]), "structured data type")
        if state[1] in "<>":
            self.dtype = self.dtype.newbyteorder(state[1])


def fill(array: np.ndarray, state: Any) -> None:
    """Give an empty array of `_reconstruct` its pickled state, which NumPy itself would not check."""
    plain = isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], DType)
    expect(plain, "array with an unusual state")
    version, shape, dtype, fortran, content = state
    size, dtype = array_size(shape), dtype.dtype
    if isinstance(content, str):
        content = _encode(content)  # bytes of Python 2, read as latin1
    kind, width = (list, 1) if dtype.hasobject else (bytes, dtype.itemsize)
    fits = isinstance(content, kind) and len(content) == size * width
    expect(fits, "array whose content does not fit its shape")
    checked: Any = (version, shape, dtype, bool(fortran), content)
    array.__setstate__(checked)


def array_size(shape: Any) -> int:
    """Return the number of elements of a shape. Misuse when it is not a tuple of lengths."""
    # The number of axes first: a product of very many takes hours.
    expect(isinstance(shape, tuple) and len(shape) <= _MOST_AXES, f"array whose shape is {brief(shape)}")
    for length in shape:
        expect(isinstance(length, int) and 0 <= length < 1 << 128, f"array with an axis of {brief(length)}")
    return math.prod(shape)


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, by which Python 3 writes bytes into protocol 2; other codecs can do far more than encode."""
    expect(isinstance(text, str) and encoding in ("latin1", "latin-1"), f"encoding with {brief(encoding)}")
    return text.encode("latin1")


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> np.ndarray:
    """An empty array that its state will fill. NumPy's own would instantiate any class."""
    expect(kind is _NDARRAY and shape == (0,) and typecode in (b"b", "b"), "array of an unusual class")
    return np.empty(0, dtype=np.int8)


def _scalar(dtype: Any, content: Any) -> Any:
    """A NumPy scalar from its bytes."""
    raw = _encode(content) if isinstance(content, str) else content
    plain = isinstance(dtype, DType) and not dtype.dtype.hasobject and isinstance(raw, bytes)
    expect(plain and len(raw) == dtype.dtype.itemsize, "scalar with unusual arguments")
    return np.frombuffer(raw, dtype=dtype.dtype)[0]


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """An array of protocol 5, its data inside the file."""
    plain = isinstance(content, (bytes, bytearray)) and isinstance(dtype, DType) and order in ("C", "F")
    expect(plain and not dtype.dtype.hasobject, "array with unusual arguments")
    expect(array_size(shape) * dtype.dtype.itemsize == len(content), "array whose content does not fit its shape")
    return np.frombuffer(content, dtype=dtype.dtype).reshape(shape, order=order)


def _bytes(*arguments: Any) -> bytes:
    """Empty bytes of protocol 2; `bytes(n)` would take any amount of memory."""
    expect(not arguments, "bytes with arguments")
    return b""


def _bytearray(content: Any = b"", encoding: Any = "latin1") -> bytearray:
    return bytearray(content if isinstance(content, bytes) else _encode(content, encoding))


def _ordered(items: Any = ()) -> dict:
    pairs = isinstance(items, (list, tuple)) and all(type(pair) in (list, tuple) and len(pair) == 2 for pair in items)
    expect(pairs, "dictionary with unusual arguments")
    return enter(OrderedDict(), [part for pair in items for part in pair])


def _set_of(make: Callable[[Sequence[Any]], Any]) -> Callable[..., Any]:
    def build(items: Any = ()) -> Any:
        expect(isinstance(items, (list, tuple)), "container with unusual arguments")
        return make(checked_keys(items))

    return build


def _complex(real: Any, imaginary: Any) -> complex:
    return complex(float(real), float(imaginary))


_NDARRAY = object()


def _functions() -> dict[str, Any]:
    """Every name that a pickle may use, and its replacement."""
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
