"""Read PyTorch's zip files (1.6 and later): `NAME/data.pkl` and one uncompressed entry per storage, memory-mapped."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError
from pyutils.formats import safe_pickle, torch_tensors
from pyutils.formats.plain_values import expect
from pyutils.formats.torch_tensors import Storage, StorageRef

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_SIGNATURE = b"PK\x03\x04"


def load(path: Path) -> Any:
    """Return the object of a file of `torch.save`; tensors are views of the mapped file (read-only).

    Raises:
        InputError: damaged, truncated, compressed or overlapping entries (PyTorch writes neither), TorchScript, or a
            pickle that is more than data.
    """
    archive = _Archive(path)
    storages: dict[str, Storage] = {}

    def storage(identifier: Any) -> Storage:
        wanted = StorageRef.parse(identifier)
        expect(wanted.view is None, "view of a storage")
        if wanted.key not in storages:
            storages[wanted.key] = Storage(wanted.kind, archive.storage(wanted))
        return storages[wanted.key]

    text = archive.entry("data.pkl").tobytes()
    return safe_pickle.load(text, str(path), torch_tensors.names(), storage)


class _Archive:
    """Entries of the zip file as views of its bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
        self._entries = self._directory()
        self._prefix = self._find_prefix()

    def entry(self, name: str) -> np.ndarray:
        """Bytes of the entry `name`, uint8."""
        info = self._entries.get(self._prefix + name)
        if info is not None:
            header = self._bytes[info.header_offset : info.header_offset + _LOCAL_HEADER.size].tobytes()
            if len(header) == _LOCAL_HEADER.size and header.startswith(_SIGNATURE):
                _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
                start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
                if start + info.file_size <= self.size:
                    return self._bytes[start : start + info.file_size]
        raise self._broken(f"the entry {name!r} is missing or incomplete")

    def storage(self, wanted: StorageRef) -> np.ndarray:
        """Bytes of one storage; Misuse where the file has fewer than the pickle announces."""
        raw, needed = self.entry(f"data/{wanted.key}"), wanted.count * wanted.kind.dtype.itemsize
        expect(needed <= raw.size, f"storage {wanted.key}: expected {needed} bytes, found {raw.size}")
        return raw[:needed]

    def _directory(self) -> dict[str, zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, ValueError, OSError, EOFError, struct.error, NotImplementedError) as error:
            raise self._broken(str(error)) from error
        for info in entries:
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
                raise InputError(
                    f"{self.path}: the entry {info.filename!r} is compressed or encrypted, which PyTorch never writes; "
                    "unpack the archive if a checkpoint is inside"
                )
        total = sum(info.file_size for info in entries)
        if total > self.size:
            raise self._broken(f"its entries announce {total} bytes, the file has {self.size}")
        return {info.filename: info for info in entries}

    def _find_prefix(self) -> str:
        """`NAME/` before `data.pkl`."""
        found = [name for name in self._entries if name.rpartition("/")[2] == "data.pkl" and name.count("/") <= 1]
        if len(found) != 1:
            shown = ", ".join(list(self._entries)[:5]) or "nothing"
            raise InputError(f"{self.path}: a zip archive, but not PyTorch's: no data.pkl in it, only {shown}")
        prefix = found[0][: -len("data.pkl")]
        if any(name.startswith(prefix + "code/") for name in self._entries):
            raise InputError(f"{self.path}: a TorchScript program: save model.state_dict() with torch.save instead")
        return prefix

    def _broken(self, problem: str) -> InputError:
        return InputError(f"{self.path}: damaged or truncated ({problem}). Copy or download it again.")
