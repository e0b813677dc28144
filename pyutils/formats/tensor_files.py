"""Files of named arrays: safetensors (memory-mapped when read) and writing Paddle's `.pdparams`.

bfloat16, which NumPy lacks, is widened to float32 when read: the numbers are the same.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike

_TO_NUMPY = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_FROM_NUMPY = {np.dtype(code): name for name, code in _TO_NUMPY.items() if name != "BF16"}
_FLOATS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_LARGEST_HEADER = 100 << 20
_NOT_IN_PADDLE = ("uint16", "uint32", "uint64", "float128")
_ALIGNMENT = 8
_LONGEST_TYPE = 20
_MOST_AXES = 64  # the product of very many would take hours
_LARGEST_BFLOAT16 = 3.38e38


class Widened(np.ndarray):
    """float32 numbers that are stored as bfloat16 in their file; `stored_type` recognises them."""

    __slots__ = ()


def widen_bfloat16(bits: np.ndarray) -> Widened:
    """Convert the 16 bits of bfloat16 numbers to float32 of the same value and shape."""
    # Of a single number NumPy makes a scalar, which is no array, and before 2.0 an int64 where 16 has no type.
    wide = np.asarray(bits.astype(np.uint32) << np.uint32(16))
    return wide.view(np.float32).view(Widened)


def stored_type(array: np.ndarray) -> str:
    """Return the name of the type that an array has in its file."""
    return "bfloat16" if isinstance(array, Widened) else array.dtype.name


def write_safetensors(
    path: PathLike,
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    floats: str | None = None,
) -> None:
    """Write named arrays in the safetensors layout, one array in memory at a time beyond those given.

    `floats`: "float32", "float16" or "bfloat16" stores every floating-point array as that, rounded to nearest even. The
    file is written in place: call inside `pyutils.formats.atomic.atomic_folder`. Raises OSError on a full disk,
    InputError for a number beyond the range of the type.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, array in arrays.items():
        code = _dtype_name(name, array, floats)
        start, end = end, end + array.size * np.dtype(_TO_NUMPY[code]).itemsize
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with Path(path).open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)))
        stream.write(text)
        for name, array in arrays.items():
            stream.write(_stored(name, array, header[name]["dtype"]))


def read_safetensors(path: PathLike) -> dict[str, np.ndarray]:
    """Return all arrays of a safetensors file, bfloat16 as float32; others are views of the mapped file (read-only).

    Raises:
        InputError: the file is missing, truncated or not in this layout.
    """
    path = Path(path)
    header, start = _read_header(path)
    size = path.stat().st_size - start
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=start) if size else np.zeros(0, dtype=np.uint8)
    found, total = {}, 0
    for name, entry in header.items():
        if name != "__metadata__":
            found[name] = _array_of(path, name, entry, data, total)
            start, end = entry["data_offsets"]
            total += end - start
    return found


def cast_floats(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert `array` to `dtype`, rounded to nearest even. InputError for a number beyond its range."""
    with np.errstate(over="ignore"):
        cast = array.astype(dtype, copy=False)
    if dtype.kind == "f" and dtype != array.dtype:
        _check_range(name, array, np.isinf(cast), dtype.name)
    return cast


def write_pdparams(path: PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as `paddle.save` does, for programs that read `.pdparams`.

    InputError for a type that Paddle lacks or misreads (uint16 as bfloat16).
    """
    import paddle

    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.dtype.name in _NOT_IN_PADDLE:
            raise InputError(f"tensor {name!r} has dtype {array.dtype}, which .pdparams lacks; write .safetensors")
    paddle.save({name: paddle.to_tensor(array) for name, array in arrays.items()}, str(path))


def _dtype_name(name: str, array: np.ndarray, floats: str | None) -> str:
    if floats is not None and array.dtype.kind == "f":
        return _FLOATS[floats]
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _FROM_NUMPY:
        raise InputError(f"tensor {name!r} has dtype {array.dtype}, which safetensors lacks")
    return _FROM_NUMPY[dtype]


def _stored(name: str, array: np.ndarray, code: str) -> bytes:
    """The array's bytes as the type `code`. InputError as in `cast_floats`."""
    if code != "BF16":
        return np.ascontiguousarray(cast_floats(name, array, np.dtype(_TO_NUMPY[code]))).tobytes()
    with np.errstate(over="ignore"):
        bits = _narrowed(np.ascontiguousarray(array, dtype="<f4"))
    _check_range(name, array, (bits & 0x7FFF) == 0x7F80, "bfloat16")
    return bits.tobytes()


def _check_range(name: str, array: np.ndarray, infinite: np.ndarray, dtype: str) -> None:
    """InputError when more numbers are infinite than in `array`, which was cast to `dtype`."""
    if np.count_nonzero(infinite) != np.count_nonzero(np.isinf(array)):
        largest = np.abs(array[np.isfinite(array)]).max()
        advice = "use bfloat16" if largest < _LARGEST_BFLOAT16 else "keep the tensors as they are"
        raise InputError(f"tensor {name!r} contains {largest:.3g}, beyond the range of {dtype}; {advice}")


def _narrowed(array: np.ndarray) -> np.ndarray:
    """float32 rounded to bfloat16 (to nearest, ties to even), as its 16 bits."""
    bits = array.view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
    rounded[np.isnan(array)] = 0x7FC0  # rounding could carry a NaN over to infinity
    return rounded


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """(the header's entries, offset of the first data byte)."""
    try:
        with path.open("rb") as stream:
            length = struct.unpack("<Q", stream.read(8))[0]
            text = stream.read(length) if length <= min(_LARGEST_HEADER, path.stat().st_size - 8) else b""
        header = dict(json.loads(text.decode("utf-8")))
    except (OSError, TypeError, ValueError, struct.error, RecursionError) as error:
        raise InputError(
            f"{path}: not a safetensors file, or truncated ({error}). Copy or download it again."
        ) from error
    return header, 8 + length


def _array_of(path: Path, name: str, entry: Mapping[str, Any], data: np.ndarray, before: int) -> np.ndarray:
    """The array of one entry; `before`: bytes of the entries before it. Entries never share bytes: a small file would
    otherwise grow with every entry that is widened."""
    try:
        code, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        dtype = np.dtype(_TO_NUMPY.get(code, "|u1"))
        if code not in _TO_NUMPY:
            problem = f"its type {code[:_LONGEST_TYPE]!r} is not supported, save it as one of {', '.join(_TO_NUMPY)}"
        elif len(shape) > _MOST_AXES:
            problem = f"its shape has {len(shape)} axes"
        elif not all(type(number) is int and 0 <= number < 1 << 62 for number in (start, end, *shape)):
            problem = "its shape or its offsets are not integers"
        elif end > data.size or before + end - start > data.size or end - start != dtype.itemsize * math.prod(shape):
            problem = f"the file is truncated or damaged: {data.size} data bytes, shape {shape} at {start} to {end}"
        else:
            array = data[start:end].view(dtype).reshape(shape)
            return widen_bfloat16(array) if code == "BF16" else array
    except (KeyError, TypeError, ValueError) as error:
        problem = f"its entry is damaged ({error})"
    raise InputError(f"{path}: tensor {name!r} cannot be read: {problem}")
