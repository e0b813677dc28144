"""The packed region store: two memory-mapped files, shared by all processes of a machine.

docs/features.md describes the layout byte by byte.

Records are appended to `regions.bin` and become part of the store when `commit` renames a new `index.bin` into place. A
writer that is killed, or fills the disk, leaves the store as it was at the last commit: the next writer truncates what
was appended after it.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import IO

import numpy as np

from pyutils.data.features.keys import KeyIndex, as_bytes
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import FeatureSpec, RegionFeatures
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write, clear_partial_files

DATA_FILE = "regions.bin"
INDEX_FILE = "index.bin"
DATA_MAGIC = b"PVLREGN1"
INDEX_MAGIC = b"PVLINDX1"
HEADER_BYTES = 4096
ALIGNMENT = 64
DTYPES = ("float16", "float32")
NUMBERS = np.dtype([("offset", "<u8"), ("regions", "<u4"), ("width", "<u4"), ("height", "<u4"), ("crc", "<u4")])
_COMMIT_EVERY = 1024


def aligned(size: int) -> int:
    """`size` rounded up to the alignment of sections."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Layout:
    """Offsets of the parts of a record, relative to its start; every section starts at a multiple of 64 bytes."""

    dimension: int
    dtype: str
    has_boxes: bool
    classes: int

    def sections(self, regions: int) -> tuple[int, int, int]:
        """(start of the features, start of the class probabilities, length of the record) in bytes."""
        features = aligned(regions * 16) if self.has_boxes else 0
        probs = features + aligned(regions * self.dimension * np.dtype(self.dtype).itemsize)
        return features, probs, probs + aligned(regions * self.classes * 2)

    def views(self, record: np.ndarray, regions: int) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
        """(boxes [regions, 4] float32, features [regions, dimension], class probabilities [regions, classes] float16)
        as views of a record's bytes; None for what the store does not hold."""
        features, probs, _ = self.sections(regions)
        boxes = record[: regions * 16].view("<f4").reshape(regions, 4) if self.has_boxes else None
        dtype = np.dtype(self.dtype).newbyteorder("<")
        body = record[features : features + regions * self.dimension * dtype.itemsize].view(dtype)
        kept = record[probs : probs + regions * self.classes * 2].view("<f2").reshape(regions, self.classes)
        return boxes, body.reshape(regions, self.dimension), kept if self.classes else None


@dataclass(frozen=True)
class Index:
    """The committed state of a store."""

    keys: np.ndarray
    """[images] bytes, sorted."""
    numbers: np.ndarray
    """[images] of NUMBERS: where each record starts, its regions, the image's size, the checksum of the record."""
    data_bytes: int
    """Length of `regions.bin` that is in use; the rest was never committed."""
    complete: bool
    """True when the writer finished; False after an interrupted conversion."""


def read_header(path: Path) -> tuple[FeatureSpec, Layout]:
    """Read the description at the start of `regions.bin`. Raises InputError when it is damaged or something else."""
    file = path / DATA_FILE
    with file.open("rb") as stream:
        header = stream.read(HEADER_BYTES).ljust(16)
    length, crc = (int(number) for number in np.frombuffer(header, dtype="<u4", count=2, offset=8))
    text = header[16 : 16 + length]
    if header[:8] != DATA_MAGIC or len(header) < HEADER_BYTES or zlib.crc32(text) != crc:
        raise InputError(f"{file}: not a packed region store, or its header is damaged; copy or convert it again")
    values = json.loads(text)
    spec = FeatureSpec(**values["spec"])
    return spec, Layout(spec.dimension, spec.dtype, spec.box_format != "none", int(values["classes"]))


def read_index(path: Path) -> Index:
    """Map the index into memory. Raises InputError when it is damaged or `regions.bin` is shorter than it says."""
    file = path / INDEX_FILE
    raw = np.memmap(file, dtype=np.uint8, mode="r") if file.stat().st_size >= ALIGNMENT else np.zeros(ALIGNMENT, "u1")
    count, width, data_bytes, complete, crc = (int(number) for number in raw[8:48].view("<u8"))
    end_of_keys = ALIGNMENT + aligned(count * width)
    fits = bytes(raw[:8]) == INDEX_MAGIC and len(raw) == end_of_keys + count * NUMBERS.itemsize
    if not fits or zlib.crc32(raw[ALIGNMENT:].data) != crc:
        raise InputError(f"{file}: not the index of a packed region store, or damaged; copy or convert the store again")
    present = (path / DATA_FILE).stat().st_size
    if present < data_bytes:
        raise InputError(
            f"{path / DATA_FILE} is truncated: {present} bytes, expected {data_bytes}; copy or convert the store again"
        )
    keys = raw[ALIGNMENT : ALIGNMENT + count * width].view(f"S{max(1, width)}")
    return Index(keys, raw[end_of_keys:].view(NUMBERS), data_bytes, bool(complete))


def is_packed(path: Path) -> bool:
    """True when there is a packed store at `path`."""
    return (path / DATA_FILE).is_file() and (path / INDEX_FILE).is_file()


class PackedRegions(RegionSource):
    """Region features in a packed store.

    Batches are copied from the mapped file; float16 features become float32 in the same pass. The state that was first
    read stays readable while another process appends.
    """

    format = "packed"
    checks_values = False  # the writer refuses values that are not finite, and `verify` finds later damage

    def _load_index(self) -> KeyIndex:
        return KeyIndex(self.committed.keys, str(self.path))

    def _infer_spec(self) -> FeatureSpec:
        largest = int(self.committed.numbers["regions"].max(initial=0))
        return replace(read_header(self.path)[0], max_regions=largest)

    @cached_property
    def committed(self) -> Index:
        """The index as it was when first read."""
        return read_index(self.path)

    @cached_property
    def layout(self) -> Layout:
        """Offsets of the parts of a record."""
        return read_header(self.path)[1]

    @cached_property
    def _map(self) -> np.ndarray:
        return np.memmap(self.path / DATA_FILE, dtype=np.uint8, mode="r").view(np.ndarray)

    def record(self, position: int) -> np.ndarray:
        """[bytes] uint8, a view of one record with its padding."""
        numbers = self.committed.numbers[position]
        start, length = int(numbers["offset"]), self.layout.sections(int(numbers["regions"]))[2]
        return self._map[start : start + length]

    def _locate(self, position: int) -> Entry:
        return Entry(int(self.committed.numbers["regions"][position]), partial(self._decode, position))

    def _decode(self, position: int) -> RegionFeatures:
        """One record as views of the file."""
        _, regions, width, height, _ = self.committed.numbers[position].item()
        boxes, features, probs = self.layout.views(self.record(position), regions)
        return RegionFeatures(features, boxes, width, height, probs)

    def check_record(self, key: str) -> None:
        """Raise InputError when the bytes of a record, padding included, do not match its checksum."""
        position = int(self._positions([key])[0])
        if zlib.crc32(self.record(position).data) != int(self.committed.numbers["crc"][position]):
            raise InputError(f"{self.path}, image '{key}': the record does not match its checksum; convert it again")


class PackedWriter:
    """Add records to a packed store (created if missing). Use as a context manager.

    Leaving the block normally commits and marks the store complete; leaving it by an error keeps the complete records.

    Args:
        path: folder of the store.
        spec: description of the features; `dtype` is the stored type, float16 or float32.
        classes: number of class probabilities a region has, 0 for none; they are stored as float16.

    Raises:
        InputError: the store holds other features, or another process is writing to it.
    """

    def __init__(self, path: str | Path, spec: FeatureSpec, classes: int = 0) -> None:
        if spec.dtype not in DTYPES:
            raise InputError(f"a packed store holds {' or '.join(DTYPES)} features, not {spec.dtype}")
        self.path = Path(path)
        self.spec = replace(spec, has_class_probs=classes > 0)
        self._layout = Layout(spec.dimension, spec.dtype, spec.box_format != "none", classes)
        self._pending: list[tuple[bytes, tuple[int, ...]]] = []
        header = self._header()
        self._stream = _open_locked(self.path)
        try:
            clear_partial_files(self.path / INDEX_FILE)  # of a killed writer
            if not is_packed(self.path):
                self._create(header)
            self._check_same()
        except BaseException:
            self._stream.close()
            raise
        index = read_index(self.path)
        self._keys, self._numbers = np.array(index.keys), np.array(index.numbers)
        self._known = set(self._keys.tolist())
        self._end = index.data_bytes
        self._stream.truncate(self._end)
        self._stream.seek(self._end)

    def _header(self) -> bytes:
        """The first bytes of `regions.bin`."""
        text = json.dumps({"spec": asdict(self.spec), "classes": self._layout.classes}).encode()
        header = DATA_MAGIC + np.array([len(text), zlib.crc32(text)], dtype="<u4").tobytes() + text
        if len(header) > HEADER_BYTES:
            raise InputError(f"the provenance of the features is too long by {len(header) - HEADER_BYTES} bytes")
        return header.ljust(HEADER_BYTES, b"\0")

    def _create(self, header: bytes) -> None:
        """Create an empty store. The index comes last: a folder without it is not a store."""
        self._stream.truncate(0)
        self._stream.write(header)
        self._stream.flush()
        os.fsync(self._stream.fileno())
        write_index(self.path, np.empty(0, "S1"), np.empty(0, NUMBERS), HEADER_BYTES, complete=False)

    def _check_same(self) -> None:
        """Raise InputError when the store holds other features than those to be added."""
        spec, layout = read_header(self.path)
        if layout != self._layout:
            raise InputError(f"{self.path} has records of {layout}; {self._layout} cannot be added")
        self.spec.check(self.path, detector=spec.detector)

    def __contains__(self, key: str) -> bool:
        return key.encode() in self._known

    def add(self, key: str, regions: RegionFeatures) -> None:
        """Append one image. Raises InputError when the key exists, or the arrays do not fit the store."""
        name = key.encode()
        if name in self._known:
            raise InputError(f"{self.path}: key '{key}' exists already")
        record = self._record(key, regions)
        self._stream.write(record.data)
        numbers = (self._end, len(regions), regions.width, regions.height, zlib.crc32(record.data))
        self._pending.append((name, numbers))
        self._known.add(name)
        self._end += len(record)
        # Committing rewrites the index: doing it when the store has grown by a tenth keeps the total cost linear.
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
                remedy = "store them as float32" if wider else "repair the source, or leave it out"
                raise InputError(
                    f"image '{key}': {name} has values that are not finite in {target.dtype.name} (largest "
                    f"{np.abs(given).max()}): {remedy}"
                )
        return record

    def commit(self, complete: bool = False) -> None:
        """Make everything added so far part of the store and flush it to disk."""
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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.commit(complete=kind is None)
        finally:
            self._stream.close()


def write_index(path: Path, keys: np.ndarray, numbers: np.ndarray, data_bytes: int, complete: bool) -> None:
    """Write `index.bin` atomically: header, keys, numbers."""
    width = keys.dtype.itemsize
    text = keys.tobytes()
    payload = text.ljust(aligned(len(text)), b"\0") + numbers.tobytes()
    fields = np.array([len(keys), width, data_bytes, int(complete), zlib.crc32(payload)], dtype="<u8")
    with atomic_write(path / INDEX_FILE, "wb") as stream:
        stream.write((INDEX_MAGIC + fields.tobytes()).ljust(ALIGNMENT, b"\0"))
        stream.write(payload)


def _open_locked(path: Path) -> IO[bytes]:
    """Open the `regions.bin` of the store `path`, created empty if missing, and lock out other writers until it is
    closed, on systems with file locks.

    It is never replaced by another file: of two writers that start together one would hold the lock of the old one.
    """
    file = path / DATA_FILE
    if not file.is_file() and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists and is not a packed region store: choose another folder")
    path.mkdir(parents=True, exist_ok=True)
    stream = os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    try:
        _lock(stream, path)
        if not DATA_MAGIC.startswith(stream.read(len(DATA_MAGIC))):
            raise InputError(f"{file} is not of a packed region store: choose another folder")
        stream.seek(0)
    except BaseException:
        stream.close()
        raise
    return stream


def _lock(stream: IO[bytes], path: Path) -> None:
    """Raise InputError if another process has locked the file."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{path}: another process is writing to this store; wait until it has finished") from None
