"""Files as `torch.save` writes them, without PyTorch: the zip format and the one before it."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.formats.torch_legacy import MAGIC

STORAGES = {
    "<f8": "DoubleStorage", "<f4": "FloatStorage", "<f2": "HalfStorage", "<i8": "LongStorage", "<i4": "IntStorage",
    "<i2": "ShortStorage", "|i1": "CharStorage", "|u1": "ByteStorage", "|b1": "BoolStorage",
}  # fmt: skip


class BFloat16(np.ndarray):
    """The 16 bits of bfloat16 numbers, uint16, which are to be written as such."""

    def __new__(cls, bits: np.ndarray) -> BFloat16:
        return np.ascontiguousarray(bits, np.uint16).view(cls)


class Opcodes:
    """A pickle written by hand."""

    def __init__(self) -> None:
        self.storages: dict[str, bytes] = {}
        self.stream = bytearray(b"\x80\x02")

    def text(self, value: str) -> None:
        raw = value.encode()
        self.stream += b"X" + struct.pack("<I", len(raw)) + raw

    def number(self, value: int) -> None:
        self.stream += pickle.dumps(value, 2)[2:-1]

    def name(self, module: str, name: str) -> None:
        self.stream += f"c{module}\n{name}\n".encode()

    def numbers(self, values) -> None:
        self.stream += b"("
        for value in values:
            self.number(int(value))
        self.stream += b"t"

    def reference(self, kind: str, key: str, count: int, legacy: bool) -> None:
        """The persistent identifier of a storage."""
        self.stream += b"("
        self.text("storage")
        self.name("torch", kind)
        self.text(key)
        self.text("cpu")
        self.number(count)
        self.stream += (b"N" if legacy else b"") + b"tQ"

    def tensor(self, array: np.ndarray, legacy: bool) -> None:
        """`array` as a contiguous tensor with a storage of its own."""
        key = str(len(self.storages))
        self.storages[key] = np.ascontiguousarray(array).tobytes()
        self.name("torch._utils", "_rebuild_tensor_v2")
        self.stream += b"("
        kind = "BFloat16Storage" if isinstance(array, BFloat16) else STORAGES[array.dtype.str]
        self.reference(kind, key, array.size, legacy)
        self.number(0)
        self.numbers(array.shape)
        self.numbers(np.cumprod([1, *array.shape[:0:-1]])[::-1][: array.ndim])
        self.stream += b"\x89"
        self.name("collections", "OrderedDict")
        self.stream += b")RtR"

    def value(self, value: Any, legacy: bool) -> None:
        """A dictionary, list, tensor or plain value."""
        if isinstance(value, Mapping):
            self.stream += b"}("
            for key, item in value.items():
                self.value(key, legacy)
                self.value(item, legacy)
            self.stream += b"u"
        elif isinstance(value, np.ndarray):
            self.tensor(value, legacy)
        elif isinstance(value, (list, tuple)):
            self.stream += b"("
            for item in value:
                self.value(item, legacy)
            self.stream += b"l" if isinstance(value, list) else b"t"
        elif isinstance(value, str):
            self.text(value)
        else:
            self.stream += pickle.dumps(value, 2)[2:-1]


def write_zip(path: Path, value: Any) -> Path:
    """`torch.save(value, path)` of PyTorch 1.6 and later."""
    written = Opcodes()
    written.value(value, False)
    return zip_of(path, bytes(written.stream) + b".", written.storages)


def zip_of(path: Path, text: bytes, storages: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip file with `text` as its pickle."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", text)
        archive.writestr("archive/byteorder", "little")
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")
    return path


def write_legacy(path: Path, value: Any) -> Path:
    """`torch.save(value, path)` of PyTorch before 1.6."""
    written = Opcodes()
    written.value(value, True)
    return legacy_of(path, bytes(written.stream) + b".", written.storages, _counts(value))


def legacy_of(path: Path, text: bytes, storages: Mapping[str, bytes], counts: list[int]) -> Path:
    """A file of the old format with `text` as the object's pickle."""
    stream = io.BytesIO()
    stream.write(MAGIC)
    pickle.dump(1001, stream, 2)
    pickle.dump({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2}}, stream, 2)
    stream.write(text)
    pickle.dump(list(storages), stream, 2)
    for content, count in zip(storages.values(), counts):
        stream.write(struct.pack("<q", count) + content)
    path.write_bytes(stream.getvalue())
    return path


def _counts(value: Any) -> list[int]:
    if isinstance(value, np.ndarray):
        return [value.size]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return [count for item in items for count in _counts(item)]
