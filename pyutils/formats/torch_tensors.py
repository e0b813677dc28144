"""Tensors in a PyTorch pickle: storages kept outside it, and views of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pyutils.formats.plain_values import NotRead, brief, expect
from pyutils.formats.tensor_files import Widened, widen_bfloat16

_DTYPES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1",
    "ByteStorage": "|u1", "BoolStorage": "|b1", "UntypedStorage": "|u1",
}  # fmt: skip
# PyTorch's types that these models do not use: storages, and arguments of its newer rebuild function.
_UNREAD_STORAGES = ("ComplexFloatStorage", "ComplexDoubleStorage", "QInt8Storage", "QUInt8Storage", "QInt32Storage")
_UNREAD_TYPES = (
    *("uint16", "uint32", "uint64", "complex32", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
_MOST_AXES = 64  # PyTorch's own limit, and NumPy's
_LONGEST_KEY = 100


@dataclass(frozen=True)
class StorageType:
    """Replaces `torch.FloatStorage` and its like."""

    name: str

    @property
    def dtype(self) -> np.dtype:
        """NumPy's type of one element; bfloat16 as its 16 bits."""
        return np.dtype(_DTYPES[self.name])

    @property
    def is_bfloat16(self) -> bool:
        """True where the 16 bits are a bfloat16."""
        return self.name == "BFloat16Storage"


class _UnreadType(StorageType):
    """Replaces a type whose tensors are not supported."""


def _unread(kind: _UnreadType) -> NotRead:
    return NotRead(
        f"it contains a tensor of the type {kind.name.replace('Storage', '')}, which is not supported: save it as "
        "float32, bfloat16 or a usual integer type, or leave it out"
    )


@dataclass(frozen=True)
class StorageRef:
    """A storage as a pickle names it: `key` in the file, `count` elements of `kind`; `view` = (key, offset, count) for
    a part of another storage (PyTorch 0.4 and older)."""

    kind: StorageType
    key: str
    count: int
    view: tuple[str, int, int] | None = None

    @classmethod
    def parse(cls, identifier: Any) -> StorageRef:
        """From a persistent identifier. Misuse where it is none of PyTorch's."""
        plain = isinstance(identifier, tuple) and len(identifier) in (5, 6) and identifier[0] == "storage"
        expect(plain, f"reference {brief(identifier)}")
        _, kind, key, _, count = identifier[:5]
        view = identifier[5] if len(identifier) == 6 else None
        if isinstance(kind, _UnreadType):
            raise _unread(kind)
        plain = isinstance(kind, StorageType) and _is_key(key) and _is_size(count)
        expect(plain, f"reference of {brief(kind)}, {brief(key)} and {brief(count)}")
        plain = isinstance(view, tuple) and len(view) == 3 and _is_key(view[0]) and all(map(_is_size, view[1:]))
        expect(view is None or plain, f"reference to a part that is {brief(view)}")
        return cls(kind, key, count, view)


class Storage:
    """Elements of one storage. Tensors are views of `values`, so that shared storages stay shared."""

    def __init__(self, kind: StorageType, raw: np.ndarray) -> None:
        """`raw`: bytes, uint8."""
        self._kind, self._raw = kind, raw

    @cached_property
    def values(self) -> np.ndarray:
        """`[count]`; bfloat16 widened to float32, once per storage."""
        values = self._raw.view(self._kind.dtype)
        return widen_bfloat16(values) if self._kind.is_bfloat16 else values


def rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`: a view of `storage`. Misuse when it would reach beyond it or repeat it."""
    plain = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
    plain = plain and isinstance(storage, Storage) and len(shape) <= _MOST_AXES
    expect(plain and all(map(_is_size, (offset, *shape, *strides))), "tensor with unusual arguments")
    values, elements = storage.values, math.prod(shape)
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides)) if elements else -1
    if last < values.size < elements:
        raise NotRead(
            f"it contains an expanded tensor: shape {shape} made of {values.size} numbers; save tensor.contiguous()"
        )
    inside = last < values.size and elements <= values.size
    expect(inside, f"tensor of shape {shape} in a storage of {values.size} elements")
    kind = Widened if isinstance(values, Widened) else np.ndarray
    if not elements:
        return np.zeros(shape, values.dtype).view(kind)
    step = values.dtype.itemsize
    array = np.ndarray(shape, values.dtype, values, offset * step, [stride * step for stride in strides])
    return array.view(kind)


def _rebuild_newer(storage: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v3`, which PyTorch uses for types without a storage of their own."""
    expect(len(more) > 2 and isinstance(more[2], _UnreadType), "tensor with unusual arguments")
    raise _unread(more[2])


def _version(text: Any = "") -> str:
    """`torch.torch_version.TorchVersion`, a text."""
    expect(isinstance(text, str), "a version that is no text")
    return text


def _parameter(data: Any, *_: Any) -> np.ndarray:
    """`torch._utils._rebuild_parameter`: the parameter's tensor."""
    expect(isinstance(data, np.ndarray), "parameter that is no tensor")
    return data


def _shape(items: Any = ()) -> tuple:
    """`torch.Size`."""
    expect(isinstance(items, (list, tuple)) and all(map(_is_size, items)), "unusual shape")
    return tuple(items)


def names(build: Callable[..., Any] = rebuild) -> dict[str, Any]:
    """Return the names that PyTorch's pickles may use, in addition to plain data. `build` makes the tensors."""
    table: dict[str, Any] = {f"torch.{name}": StorageType(name) for name in _DTYPES}
    table |= {f"torch.{name}": _UnreadType(name) for name in (*_UNREAD_STORAGES, *_UNREAD_TYPES)}
    table["torch.storage.UntypedStorage"] = table["torch.UntypedStorage"]
    for name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
        table[f"torch._utils.{name}"] = build
    table["torch._utils._rebuild_parameter"] = _parameter
    table["torch._utils._rebuild_tensor_v3"] = _rebuild_newer
    table["torch.torch_version.TorchVersion"] = _version
    table["torch.Size"] = _shape
    return table


def _is_key(value: Any) -> bool:
    """PyTorch's keys of storages are numbers in decimal. Control characters would reach the terminal with errors."""
    return isinstance(value, str) and len(value) <= _LONGEST_KEY and value.isprintable()


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
