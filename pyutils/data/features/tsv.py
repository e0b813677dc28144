"""Bottom-up features in a tab-separated file with base64 columns, one image per line and no header.

The line starts are cached beside the file (`FILE.index.npz`), because scanning tens of gigabytes takes minutes. Known
column orders:

| columns | written by |
|---|---|
| image_id, image_w, image_h, num_boxes, boxes, features | bottom-up attention |
| the same and cls_prob | ViLBERT |
| img_id, img_h, img_w, objects_id, objects_conf, attrs_id, attrs_conf, num_boxes, boxes, features | LXMERT |

`pybase64` binds the SIMD library libbase64: an image of 100 x 2048 regions decodes in 0.1 ms. The standard library,
used without it, takes several milliseconds, which is most of the reading time.
"""

from __future__ import annotations

import binascii
import zipfile
import zlib
from contextlib import suppress
from functools import cached_property, partial

import numpy as np

from pyutils.data.features.keys import KeyIndex
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import RegionFeatures, make_regions, read_number
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write

try:
    from pybase64 import b64decode as _decode_fast
except ImportError:
    _decode_fast = None


def decode_floats(text: str | bytes | memoryview, shape: tuple[int, int], where: str) -> np.ndarray:
    """Decode base64 of little-endian float32 to a read-only array of `shape`, where one length may be -1.

    Raises:
        InputError: not base64, or not numbers of that shape.
    """
    try:
        raw = _decode_fast(text, validate=True) if _decode_fast else binascii.a2b_base64(text)
        return np.frombuffer(raw, dtype="<f4").reshape(shape)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: damaged base64 text of {shape} float32 numbers: {error}") from error


_HEADERS = (b"image_id", b"img_id")
BOTTOM_UP = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
WITH_CLASSES = (*BOTTOM_UP, "cls_prob")
LXMERT = (
    *("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf"),
    *("num_boxes", "boxes", "features"),
)
_NAMES = {"img_id": "image_id", "img_h": "image_h", "img_w": "image_w"}


class TsvRegions(RegionSource):
    """Region features in a bottom-up TSV file."""

    format = "tsv"

    def _load_index(self) -> KeyIndex:
        return self._lines[0]

    @cached_property
    def _lines(self) -> tuple[KeyIndex, np.ndarray, np.ndarray]:
        """(index, start of each line [n], its length [n]) in the order of the index."""
        status = self.path.stat()
        stamp = np.array([status.st_size, status.st_mtime_ns], dtype=np.int64)
        saved = self.path.with_name(self.path.name + ".index.npz")
        if saved.is_file():
            try:
                with np.load(saved, allow_pickle=False) as archive:
                    if np.array_equal(archive["stamp"], stamp):
                        return KeyIndex(archive["keys"], str(self.path)), archive["starts"], archive["lengths"]
            except (zipfile.BadZipFile, ValueError, KeyError, EOFError):
                saved.unlink()
        keys, starts, lengths = [], [], []
        seen: dict[bytes, int] = {}
        position = 0
        with self.path.open("rb") as stream:
            for line in stream:
                key, checksum = line.split(b"\t", 1)[0], zlib.crc32(line.rstrip(b"\r\n"))
                # Extraction on several devices repeats images: equal lines are one, others an error of the index.
                header = position == 0 and key in _HEADERS
                if line.strip() and not header and seen.get(key) != checksum:
                    seen[key] = checksum
                    keys.append(key)
                    starts.append(position)
                    lengths.append(len(line))
                position += len(line)
        index, order = KeyIndex.sort(keys, str(self.path))
        arrays = np.array(starts, dtype=np.int64)[order], np.array(lengths, dtype=np.int64)[order]
        with suppress(OSError), atomic_write(saved, "wb") as stream:  # a read-only folder costs a scan at every start
            np.savez(stream, stamp=stamp, keys=index.keys, starts=arrays[0], lengths=arrays[1])
        return index, *arrays

    def _locate(self, position: int) -> Entry:
        index, starts, lengths = self._lines
        where = f"{self.path}, image '{index.name(position)}'"
        with self.path.open("rb") as stream:
            stream.seek(int(starts[position]))
            parts = stream.read(int(lengths[position])).rstrip(b"\r\n").split(b"\t")
        columns = {len(names): names for names in (BOTTOM_UP, WITH_CLASSES, LXMERT)}.get(len(parts))
        if columns is None:
            raise InputError(f"{where}: {len(parts)} columns, expected 6, 7 or 10")
        row = {_NAMES.get(name, name): part for name, part in zip(columns, parts)}
        count = read_number(row, "num_boxes", where)
        return Entry(count, partial(_decode, row, count, where))


def _decode(row: dict[str, bytes], count: int, where: str) -> RegionFeatures:
    """The arrays of one line."""
    features = decode_floats(row["features"], (count, -1), where)
    boxes = decode_floats(row["boxes"], (count, 4), where)
    probs = decode_floats(row["cls_prob"], (count, -1), where) if "cls_prob" in row else None
    size = read_number(row, "image_w", where), read_number(row, "image_h", where)
    return make_regions(where, features, boxes, size, probs)
