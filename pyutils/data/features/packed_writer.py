"""Writing the packed region store: append, then commit.

Records are appended to `regions.bin`; nothing of them counts until `commit` has put a new `index.bin` in place with one
rename. A writer that is killed, or that finds the disk full, leaves the store as it was at the last commit: what it
appended after that is cut off by the next writer.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pyutils.data.features import packed
from pyutils.data.features.keys import as_bytes
from pyutils.data.features.packed import ALIGNMENT, DATA_FILE, HEADER_BYTES, INDEX_FILE, NUMBERS, Layout
from pyutils.data.features.spec import FeatureSpec, RegionFeatures
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write

_COMMIT_EVERY = 1024


class PackedWriter:
    """Adds records to a packed store, which is made when it is not there. Use as a context manager.

    Leaving the block normally commits and marks the store complete; leaving it by an error commits what is whole.

    Args:
        path: folder of the store.
        spec: what the features are; `dtype` says how they are stored, float16 or float32.
        classes: number of class probabilities a region has, 0 for none; they are stored as float16.

    Raises:
        InputError: the store holds other features, or another process is writing to it.
    """

    def __init__(self, path: str | Path, spec: FeatureSpec, classes: int = 0) -> None:
        if spec.dtype not in packed.DTYPES:
            raise InputError(f"a packed store holds {' or '.join(packed.DTYPES)} features, not {spec.dtype}")
        self.path = Path(path)
        self.spec = replace(spec, has_class_probs=classes > 0)
        self._layout = Layout(spec.dimension, spec.dtype, spec.box_format != "none", classes)
        self._pending: list[tuple[bytes, tuple[int, ...]]] = []
        if not packed.is_packed(self.path):
            self._create()
        self._check_same()
        self._stream = (self.path / DATA_FILE).open("r+b")
        _lock(self._stream, self.path)
        index = packed.read_index(self.path)
        self._keys, self._numbers = np.array(index.keys), np.array(index.numbers)
        self._known = set(self._keys.tolist())
        self._end = index.data_bytes
        self._stream.truncate(self._end)
        self._stream.seek(self._end)

    def _create(self) -> None:
        """An empty store. The index comes last: a folder without it is no store yet."""
        taken = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
        if taken and not (self.path / DATA_FILE).is_file():
            raise InputError(f"{self.path} exists and is not a packed region store: choose another folder")
        text = json.dumps({"spec": self.spec.to_json(), "classes": self._layout.classes}).encode()
        header = packed.DATA_MAGIC + np.array([len(text), zlib.crc32(text)], dtype="<u4").tobytes() + text
        if len(header) > HEADER_BYTES:
            raise InputError(f"the provenance of the features is too long by {len(header) - HEADER_BYTES} bytes")
        with atomic_write(self.path / DATA_FILE, "wb") as stream:
            stream.write(header.ljust(HEADER_BYTES, b"\0"))
        write_index(self.path, np.empty(0, "S1"), np.empty(0, NUMBERS), HEADER_BYTES, complete=False)

    def _check_same(self) -> None:
        """An existing store must hold what is going to be added."""
        spec, layout = packed.read_header(self.path)
        if layout != self._layout:
            raise InputError(f"{self.path} holds records of {layout}, which {self._layout} cannot be added to")
        self.spec.check(self.path, detector=spec.detector)

    def __contains__(self, key: str) -> bool:
        return key.encode() in self._known

    def __len__(self) -> int:
        return len(self._known)

    def add(self, key: str, regions: RegionFeatures) -> None:
        """Append one image. Raises InputError when the key is there, or the arrays do not fit the store."""
        name = key.encode()
        if name in self._known or b"\0" in name or not name:
            raise InputError(f"{self.path}: key '{key}' is there already" if name else f"{self.path}: empty key")
        record = self._record(key, regions)
        self._stream.write(record.data)
        numbers = (self._end, len(regions), regions.width, regions.height, zlib.crc32(record.data))
        self._pending.append((name, numbers))
        self._known.add(name)
        self._end += len(record)
        # Committing rewrites the index: doing it when the store has grown by a tenth keeps the whole cost linear.
        if len(self._pending) >= max(_COMMIT_EVERY, len(self._keys) // 10):
            self.commit()

    def _record(self, key: str, regions: RegionFeatures) -> np.ndarray:
        """The bytes of one record."""
        layout, count = self._layout, len(regions)
        record = np.zeros(layout.sections(count)[2], dtype=np.uint8)
        boxes, features, probs = layout.views(record, count)
        parts = (("boxes", boxes, regions.boxes), ("features", features, regions.features))
        for name, target, given in (*parts, ("class probabilities", probs, regions.class_probs)):
            if target is None:
                continue
            if given is None or given.shape != target.shape:
                found = "none" if given is None else given.shape
                raise InputError(f"image '{key}': expected {name} of shape {target.shape}, found {found}")
            with np.errstate(over="ignore"):
                target[...] = given
            if not np.isfinite(target).all():
                wider = target.dtype.itemsize < 4 and name == "features" and bool(np.isfinite(given).all())
                remedy = "store them as float32, or mend the source" if wider else "mend the source, or leave it out"
                raise InputError(
                    f"image '{key}': {name} hold values that are not finite in {target.dtype.name} (largest "
                    f"{np.abs(given).max()}): {remedy}"
                )
        return record

    def commit(self, complete: bool = False) -> None:
        """Make everything added so far part of the store, durably."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        keys = as_bytes([*self._keys.tolist(), *(name for name, _ in self._pending)])
        added = np.array([numbers for _, numbers in self._pending], dtype=NUMBERS)
        order = np.argsort(keys, kind="stable")
        self._keys, self._numbers = keys[order], np.concatenate([self._numbers, added])[order]
        self._pending.clear()
        write_index(self.path, self._keys, self._numbers, self._end, complete)

    def __enter__(self) -> PackedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.commit(complete=kind is None)
        finally:
            self._stream.close()


def write_index(path: Path, keys: np.ndarray, numbers: np.ndarray, data_bytes: int, complete: bool) -> None:
    """Put a new `index.bin` in place: header, keys, numbers."""
    width = keys.dtype.itemsize
    text = keys.tobytes()
    payload = text.ljust(packed.aligned(len(text)), b"\0") + numbers.tobytes()
    fields = np.array([len(keys), width, data_bytes, int(complete), zlib.crc32(payload)], dtype="<u8")
    with atomic_write(path / INDEX_FILE, "wb") as stream:
        stream.write((packed.INDEX_MAGIC + fields.tobytes()).ljust(ALIGNMENT, b"\0"))
        stream.write(payload)


def _lock(stream: Any, path: Path) -> None:
    """Keep other writers out until the file is closed; systems without file locks go without."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise InputError(f"{path}: another process is writing to this store; wait until it has finished") from None
