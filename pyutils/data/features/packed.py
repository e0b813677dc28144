"""Reading the packed region store: two files, mapped into memory, shared by all processes of a machine.

docs/features.md describes the layout byte by byte; `packed_writer.py` writes it.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.data.features.keys import KeyIndex
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import FeatureSpec, RegionFeatures
from pyutils.errors import InputError

DATA_FILE = "regions.bin"
INDEX_FILE = "index.bin"
DATA_MAGIC = b"PVLREGN1"
INDEX_MAGIC = b"PVLINDX1"
HEADER_BYTES = 4096
ALIGNMENT = 64
DTYPES = ("float16", "float32")
NUMBERS = np.dtype([("offset", "<u8"), ("regions", "<u4"), ("width", "<u4"), ("height", "<u4"), ("crc", "<u4")])


def aligned(size: int) -> int:
    """`size` rounded up to the alignment of sections."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Layout:
    """Where the parts of a record lie, relative to its start; every section starts at a multiple of 64 bytes."""

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
    """[images] of NUMBERS: where each record starts, its regions, the picture's size, the checksum of the record."""
    data_bytes: int
    """Length of `regions.bin` that is in use; what lies beyond was never committed."""
    complete: bool
    """Whether the writer finished; False after an interrupted conversion."""


def read_header(path: Path) -> tuple[FeatureSpec, Layout]:
    """The description at the start of `regions.bin`. Raises InputError when it is damaged or of another version."""
    file = path / DATA_FILE
    with file.open("rb") as stream:
        header = stream.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or header[:8] != DATA_MAGIC:
        raise InputError(f"{file} is not a packed region store, or its header is damaged")
    length, crc = (int(number) for number in np.frombuffer(header, dtype="<u4", count=2, offset=8))
    text = header[16 : 16 + length]
    if len(text) != length or zlib.crc32(text) != crc:
        raise InputError(f"{file}: the header does not match its checksum; copy or convert the store again")
    values = json.loads(text)
    spec = FeatureSpec.from_json(values["spec"], file)
    return spec, Layout(spec.dimension, spec.dtype, spec.box_format != "none", int(values["classes"]))


def read_index(path: Path) -> Index:
    """The index, mapped into memory. Raises InputError when it is damaged or `regions.bin` is shorter than it says."""
    file = path / INDEX_FILE
    raw = np.memmap(file, dtype=np.uint8, mode="r") if file.stat().st_size else np.empty(0, dtype=np.uint8)
    if len(raw) < ALIGNMENT or bytes(raw[:8]) != INDEX_MAGIC:
        raise InputError(f"{file} is not the index of a packed region store; copy or convert the store again")
    count, width, data_bytes, complete, crc = (int(number) for number in raw[8:48].view("<u8"))
    end_of_keys = ALIGNMENT + aligned(count * width)
    if len(raw) != end_of_keys + count * NUMBERS.itemsize or zlib.crc32(raw[ALIGNMENT:].data) != crc:
        raise InputError(f"{file} does not match its checksum; copy or convert the store again")
    present = (path / DATA_FILE).stat().st_size
    if present < data_bytes:
        raise InputError(
            f"{path / DATA_FILE} is truncated: {present} bytes, expected {data_bytes}; copy or convert the store again"
        )
    keys = raw[ALIGNMENT : ALIGNMENT + count * width].view(f"S{max(1, width)}")
    return Index(keys, raw[end_of_keys:].view(NUMBERS), data_bytes, bool(complete))


def is_packed(path: Path) -> bool:
    """Whether a packed store lies at `path`."""
    return (path / DATA_FILE).is_file() and (path / INDEX_FILE).is_file()


class PackedRegions(RegionSource):
    """Region features in a packed store.

    Batches are copied straight from the mapped file; float16 features become float32 on the way. The store as it was
    when first read stays readable while another process appends to it.
    """

    format = "packed"
    checks_values = False  # the writer refuses what is not finite, and `verify` finds what changed since

    def __init__(self, path: str | Path, spec: FeatureSpec | None = None) -> None:
        super().__init__(path, spec)
        self._map: np.ndarray | None = None
        self._committed: Index | None = None
        self._layout: Layout | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Mappings are opened again on the other side."""
        kept = {name: value for name, value in self.__dict__.items() if name not in ("index", "spec")}
        return {**kept, "_map": None, "_committed": None, "_layout": None}

    def _load_index(self) -> KeyIndex:
        return KeyIndex(self.committed.keys, str(self.path))

    def _infer_spec(self) -> FeatureSpec:
        largest = int(self.committed.numbers["regions"].max(initial=0))
        return replace(read_header(self.path)[0], max_regions=largest)

    @property
    def committed(self) -> Index:
        """The index as it was when first read."""
        if self._committed is None:
            self._committed = read_index(self.path)
        return self._committed

    @property
    def layout(self) -> Layout:
        """Where the parts of a record lie."""
        if self._layout is None:
            self._layout = read_header(self.path)[1]
        return self._layout

    def record(self, position: int) -> np.ndarray:
        """[bytes] uint8, a view of one record with its padding."""
        if self._map is None:
            self._map = np.memmap(self.path / DATA_FILE, dtype=np.uint8, mode="r").view(np.ndarray)
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
