"""Reading pickled data without running it.

A pickle is a program: `pickle.load` calls whatever function the file names. Annotation and feature files of this field
are pickles all the same (object `.npy` files, `refs(unc).p`, LMDB values). This module reads them with an unpickler
that knows plain containers, scalars and NumPy arrays, and refuses every other name before anything is called.

NumPy's own functions are not called either: they trust what the pickle tells them about memory (a forged data type can
turn bytes into pointers). Stand-ins take their place, check what they are given and build the array themselves.

`numpy.load(allow_pickle=True)` is never used: the header of a `.npy` file is read by `numpy.lib.format`, its pickled
content by the unpickler here.
"""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pyutils.errors import InputError

_KINDS = "biufcSUO?"
_MOST_AXES = 64  # of NumPy 2
_LONGEST_TOLD = 60
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError),
    *(MemoryError, OverflowError, RecursionError, SystemError),
)


def load(
    source: bytes | memoryview | str | Path | BinaryIO,
    what: str | None = None,
    allowed: Mapping[str, Callable[..., Any]] | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
    encoding: str = "latin1",
) -> Any:
    """The value of a pickle made of dict, list, tuple, set, OrderedDict, numbers, text, bytes and NumPy arrays.

    Args:
        source: the pickle's bytes, its path, or an open binary file (read from where it stands).
        what: how errors name the source; the path when it is one.
        allowed: further names a pickle may use, as `module.name`, and what is called in their place. They are the
            caller's to make safe.
        persistent_load: resolves persistent identifiers (checkpoints keep their tensors outside the pickle).
        encoding: of text written by Python 2.

    Raises:
        InputError: the pickle names anything else (nothing has been called then), or is damaged.
    """
    if isinstance(source, (str, Path)):
        with Path(source).open("rb") as stream:
            return load(stream, what or str(source), allowed, persistent_load, encoding)
    where = what or getattr(source, "name", "pickled data")
    binary = io.BytesIO(source) if isinstance(source, (bytes, bytearray, memoryview)) else source
    reader = _Reader(binary, str(where), allowed or {}, persistent_load, encoding)
    try:
        value = reader.load()
        return _as_plain(value, {}) if _PENDING in reader.used else value
    except _Refused as refusal:
        raise InputError(str(refusal)) from None
    except NotRead as kind:
        raise InputError(f"{where}: {kind}") from None
    except Misuse as misuse:
        raise InputError(
            f"{where}: the pickle holds something that is not plain data ({misuse}); it was refused"
        ) from None
    except _BROKEN as error:
        raise InputError(
            f"{where} cannot be read as pickled data ({type(error).__name__}: {error}): is it complete?"
        ) from error


def load_npy(path: str | Path) -> np.ndarray:
    """The array of a `.npy` file; object arrays are read by `load`.

    Raises InputError when the file is missing, truncated, no `.npy` file, or holds what `load` refuses.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(stream)
            if not dtype.hasobject:
                # NumPy takes the memory that the header announces before it reads anything.
                announced, there = _size(shape) * dtype.itemsize, os.fstat(stream.fileno()).st_size - stream.tell()
                if announced > there:
                    raise InputError(
                        f"{path}: the header announces an array {shape} of {dtype}, {announced} bytes, but {there} "
                        "follow: the file is cut off or damaged; copy it again"
                    )
                stream.seek(0)
                return np.lib.format.read_array(stream, allow_pickle=False)
            content = load(stream, str(path))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except InputError:
        raise
    except (ValueError, EOFError, OSError, OverflowError, Misuse) as error:
        raise InputError(f"{path} is not a whole .npy file: {error}") from error
    if not isinstance(content, np.ndarray) or content.dtype != dtype or content.shape != shape:
        raise InputError(f"{path}: the content is not the array of shape {shape} that its header announces")
    return content


class _Refused(Exception):
    """A pickle asked for something that is not data."""


class Misuse(Exception):
    """A pickle called an allowed function with arguments that no data has. What `allowed` holds may raise it too."""


class NotRead(Misuse):
    """A pickle holds honest data of a kind that is not read here; the text says which, and what to do."""


class _Reader(pickle.Unpickler):
    """The unpickler: names are looked up in tables, never imported."""

    def __init__(
        self,
        stream: BinaryIO,
        where: str,
        allowed: Mapping[str, Callable[..., Any]],
        persistent_load: Callable[[Any], Any] | None,
        encoding: str,
    ) -> None:
        super().__init__(stream, encoding=encoding)
        self._where = where
        self._allowed = allowed
        self._persistent = persistent_load
        self.used: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name. Raises _Refused for every name that is not in the tables."""
        full = f"{module}.{name}"
        self.used.add(_PENDING if name == "_reconstruct" else full)
        if full in self._allowed:
            return self._allowed[full]
        if full in _STAND_INS:
            return _STAND_INS[full]
        raise _Refused(
            f"{self._where}: the pickle asks for {told(full)}, which is not data; it was refused and nothing was run. "
            "Do not load this file elsewhere either unless you trust who made it"
        )

    def persistent_load(self, identifier: Any) -> Any:
        """An object kept outside the pickle."""
        if self._persistent is None:
            raise _Refused(
                f"{self._where}: the pickle refers to data outside itself ({told(identifier)}), which is refused"
            )
        return self._persistent(identifier)


def told(value: Any) -> str:
    """A value of a pickle for an error text: short, and made in no time whatever the value is.

    Text, bytes and numbers as Python writes them, cut; of everything else the type, and the length of a container: the
    text of a tuple that holds one tuple twice, and that another one twice, would not end.
    """
    if isinstance(value, (str, bytes)):
        shown = repr(value[:_LONGEST_TOLD])
        return shown if len(value) <= _LONGEST_TOLD else f"{shown}…"
    if isinstance(value, int) and not -(1 << 128) < value < 1 << 128:
        return "a huge number"
    if value is None or isinstance(value, (int, float)):
        return repr(value)
    length = f" of {len(value)}" if isinstance(value, (tuple, list, dict, set, frozenset)) else ""
    return f"a {type(value).__name__}{length}"


class StandIn:
    """A function that a pickle may call. It cannot be altered, because a pickle can set attributes of what it names."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        raise Misuse("a pickle tried to alter a function")

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class _DType:
    """A data type in the making: its name, and the byte order that its state adds."""

    __slots__ = ("dtype",)
    dtype: np.dtype

    def __init__(self, description: Any, align: Any = False, copy: Any = True) -> None:
        if isinstance(description, bytes):
            description = description.decode("ascii", errors="replace")
        short = isinstance(description, str) and 1 < len(description) < 12
        if not short or description[0] not in _KINDS or not description[1:].isdigit():
            raise Misuse(f"unusual data type {told(description)}")
        object.__setattr__(self, "dtype", np.dtype(description))

    def __setattr__(self, name: str, value: Any) -> None:
        raise Misuse("a pickle tried to alter a data type")

    def __setstate__(self, state: Any) -> None:
        plain = isinstance(state, tuple) and 5 <= len(state) <= 9 and state[1] in ("<", ">", "|", "=")
        if not plain or any(part is not None for part in state[2:5]):
            raise Misuse("structured data type")
        if state[1] in "<>":
            object.__setattr__(self, "dtype", self.dtype.newbyteorder(state[1]))


class _PendingArray(np.ndarray):
    """An array whose state is checked before NumPy takes it over; `_as_plain` makes it an ordinary one."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _DType):
            raise Misuse("array with an unusual state")
        version, shape, dtype, fortran, content = state
        size = _size(shape)
        dtype = dtype.dtype
        if isinstance(content, str):
            content = _encode(content)  # bytes of Python 2, read as latin1
        fits = len(content) == size * (1 if dtype.hasobject else dtype.itemsize)
        if not isinstance(content, list if dtype.hasobject else bytes) or not fits:
            raise Misuse("array whose content does not fit its shape")
        checked: Any = (version, shape, dtype, bool(fortran), content)
        super().__setstate__(checked)


def _size(shape: Any) -> int:
    """Number of elements of a shape. The number of axes is looked at first: a product of very many takes hours."""
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
        raise Misuse(f"array whose shape is {told(shape)}")
    for length in shape:
        if not isinstance(length, int) or not 0 <= length < 1 << 128:
            raise Misuse(f"array with an axis of {told(length)}")
    size = 1
    for length in shape:
        size *= length
    return size


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, by which Python 3 writes bytes into protocol 2; other codecs can do far more than encode."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Misuse(f"encoding with {told(encoding)}")
    return text.encode("latin1")


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> np.ndarray:
    """An empty array that its state will fill. NumPy's own would instantiate any class."""
    if kind is not _NDARRAY or shape != (0,) or typecode not in (b"b", "b"):
        raise Misuse("array of an unusual class")
    return np.empty(0, dtype=np.int8).view(_PendingArray)


def _scalar(dtype: Any, content: Any) -> Any:
    """A NumPy scalar from its bytes."""
    raw = _encode(content) if isinstance(content, str) else content
    if not isinstance(dtype, _DType) or dtype.dtype.hasobject or not isinstance(raw, bytes):
        raise Misuse("scalar with unusual arguments")
    if len(raw) != dtype.dtype.itemsize:
        raise Misuse("scalar of the wrong length")
    return np.frombuffer(raw, dtype=dtype.dtype)[0]


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """An array of protocol 5, its data inside the file."""
    if not isinstance(content, (bytes, bytearray)) or not isinstance(dtype, _DType) or order not in ("C", "F"):
        raise Misuse("array with unusual arguments")
    if dtype.dtype.hasobject or _size(shape) * dtype.dtype.itemsize != len(content):
        raise Misuse("array whose content does not fit its shape")
    return np.frombuffer(content, dtype=dtype.dtype).reshape(shape, order=order)


def _bytes(*arguments: Any) -> bytes:
    """Empty bytes of protocol 2; `bytes(n)` would take any amount of memory."""
    if arguments:
        raise Misuse("bytes with arguments")
    return b""


def _bytearray(content: Any = b"", encoding: Any = "latin1") -> bytearray:
    """A bytearray from its content."""
    if isinstance(content, bytes):
        return bytearray(content)
    return bytearray(_encode(content, encoding))


def _of_items(make: Callable[..., Any]) -> Callable[..., Any]:
    """A container from the list that a pickle gives."""

    def build(items: Any = ()) -> Any:
        if not isinstance(items, (list, tuple)):
            raise Misuse("container with unusual arguments")
        return make(items)

    return build


def _complex(real: Any, imaginary: Any) -> complex:
    """A complex number from two floats."""
    return complex(float(real), float(imaginary))


_PENDING = "array"
_NDARRAY = StandIn(_bytes)


def _tables() -> dict[str, Any]:
    """Every name that a pickle may use, and what stands for it."""
    table: dict[str, Any] = {
        "_codecs.encode": StandIn(_encode),
        "collections.OrderedDict": StandIn(_of_items(OrderedDict)),
        "numpy.ndarray": _NDARRAY,
        "numpy.dtype": StandIn(_DType),
    }
    for module in ("numpy.core", "numpy._core"):
        table[f"{module}.multiarray._reconstruct"] = StandIn(_reconstruct)
        table[f"{module}.multiarray.scalar"] = StandIn(_scalar)
        table[f"{module}.numeric._frombuffer"] = StandIn(_from_buffer)
    for module in ("builtins", "__builtin__"):
        table[f"{module}.set"] = StandIn(_of_items(set))
        table[f"{module}.frozenset"] = StandIn(_of_items(frozenset))
        table[f"{module}.bytes"] = StandIn(_bytes)
        table[f"{module}.bytearray"] = StandIn(_bytearray)
        table[f"{module}.complex"] = StandIn(_complex)
    return table


_STAND_INS = _tables()


def _as_plain(value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """`value` with every `_PendingArray` inside it, at any depth, replaced by an ordinary array.

    `seen` keeps (original, result) by the identity of the original, alive so that no identity is used twice.
    """
    if not isinstance(value, (np.ndarray, dict, list, tuple)):
        return value
    if id(value) in seen:
        return seen[id(value)][1]
    if isinstance(value, tuple):
        result: Any = tuple(_as_plain(item, seen) for item in value)
        seen[id(value)] = value, result
        return result
    result = value.view(np.ndarray) if isinstance(value, np.ndarray) else value
    seen[id(value)] = value, result
    if isinstance(result, np.ndarray):
        if result.dtype.hasobject:
            for place in np.ndindex(result.shape):
                result[place] = _as_plain(result[place], seen)
        return result
    for place, item in list(result.items() if isinstance(result, dict) else enumerate(result)):
        if isinstance(item, (np.ndarray, dict, list, tuple)):
            result[place] = _as_plain(item, seen)
    return result
