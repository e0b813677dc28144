"""Read PyTorch's files from before 1.6 (`.th`, `pytorch_model.bin` of 2019): several pickles, then the storages.

Magic number, protocol and machine, each a pickle; the object, whose tensors name storages by key; the list of keys; for
each key an int64 count of elements and the elements themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pyutils.errors import InputError
from pyutils.formats import safe_pickle, torch_tensors
from pyutils.formats.plain_values import brief, expect
from pyutils.formats.torch_tensors import Storage, StorageRef

MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # the first pickle: the number that marks these files
_PROTOCOL = 1001
_COUNT = 8


def load(path: Path) -> Any:
    """Return the object of a file of the old `torch.save`; tensors are views of the mapped file (read-only).

    The object's pickle is read twice: first for the types of the storages, from which their offsets follow, then for
    the tensors. Raises InputError as `torch_zip.load` does.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(len(MAGIC))
        protocol = safe_pickle.load(stream, str(path))
        machine = safe_pickle.load(stream, str(path))
        if protocol != _PROTOCOL or not isinstance(machine, dict):
            raise InputError(
                f"{path}: PyTorch file of protocol {brief(protocol)} for {brief(machine)}, which is not supported"
            )
        start = stream.tell()
        wanted = _references(stream, str(path))
        keys = safe_pickle.load(stream, str(path))
        spans = _spans(path, size, stream.tell(), keys, wanted)
        stream.seek(start)
        data = np.memmap(path, dtype=np.uint8, mode="r")
        storages = {key: Storage(wanted[key].kind, data[begin:end]) for key, (begin, end) in spans.items()}
        views: dict[tuple, Storage] = {}
        left = size

        def storage(identifier: Any) -> Storage:
            nonlocal left
            reference = StorageRef.parse(identifier)
            if reference.view is None:
                return storages[reference.key]
            if (reference.key, reference.view) not in views:
                left -= reference.view[2] * reference.kind.dtype.itemsize
                # Each view of bfloat16 is widened to an array of its own.
                expect(left >= 0, "its tensors would grow beyond the size of the file")
                views[reference.key, reference.view] = _part(data, spans[reference.key], reference)
            return views[reference.key, reference.view]

        return safe_pickle.load(stream, str(path), torch_tensors.names(), storage)


def _references(stream: BinaryIO, where: str) -> dict[str, StorageRef]:
    """Storages by key that the object at the position of `stream` uses."""
    wanted: dict[str, StorageRef] = {}

    def note(identifier: Any) -> None:
        reference = StorageRef.parse(identifier)
        known = wanted.setdefault(reference.key, reference)
        same = (known.kind.name, known.count) == (reference.kind.name, reference.count)
        expect(same, f"storage {reference.key} of two kinds")

    empty = np.zeros(0, np.float32)
    safe_pickle.load(stream, where, torch_tensors.names(lambda *_: empty), note)
    return wanted


def _spans(path: Path, size: int, start: int, keys: Any, wanted: dict[str, StorageRef]) -> dict[str, tuple[int, int]]:
    """First and last byte of each storage; they follow one another in the order of `keys`."""
    plain = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not plain or sorted(keys) != sorted(wanted):
        raise InputError(f"{path}: its list of storages does not fit its tensors; the file is damaged")
    spans = {}
    with path.open("rb") as stream:
        for key in keys:
            stream.seek(start)
            count = int.from_bytes(stream.read(_COUNT), "little", signed=True)
            end = start + _COUNT + wanted[key].count * wanted[key].kind.dtype.itemsize
            if end > size or count != wanted[key].count:
                raise InputError(
                    f"{path}: truncated or damaged: storage {key} has {count} elements, its tensors expect "
                    f"{wanted[key].count}; it ends at byte {end}, the file at {size}. Copy or download it again."
                )
            spans[key] = start + _COUNT, end
            start = end
    return spans


def _part(data: np.ndarray, span: tuple[int, int], reference: StorageRef) -> Storage:
    """A storage that is a part of another."""
    assert reference.view is not None
    _, offset, count = reference.view
    width = reference.kind.dtype.itemsize
    begin = span[0] + offset * width
    expect(begin + count * width <= span[1], f"part of storage {reference.key} beyond its end")
    return Storage(reference.kind, data[begin : begin + count * width])
