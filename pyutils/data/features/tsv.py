"""Bottom-up features as a tab-separated file with base64 columns, one image a line and no header.

The line starts are found once and kept beside the file (`FILE.index.npz`), because reading tens of gigabytes to find
one image takes minutes. Known column orders:

| columns | written by |
|---|---|
| image_id, image_w, image_h, num_boxes, boxes, features | bottom-up attention |
| img_id, img_h, img_w, objects_id, objects_conf, attrs_id, attrs_conf, num_boxes, boxes, features | LXMERT |

`pybase64` is a thin binding of the SIMD library libbase64: an image of 100 x 2048 regions decodes in 0.1 ms against
several with the standard library, which would be most of the time that reading takes. Without it the standard library
decodes.
"""

from __future__ import annotations

import binascii
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from pyutils.data.features.keys import KeyIndex
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import FeatureSpec, RegionFeatures
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write

try:
    from pybase64 import b64decode as _decode_fast
except ImportError:
    _decode_fast = None


def decode_floats(text: str | bytes | memoryview, columns: int | None, where: str) -> np.ndarray:
    """Base64 of little-endian float32 → [rows, columns] float32, read-only.

    Args:
        text: base64, as text or ASCII bytes.
        columns: width of a row; None gives one row.
        where: file and entry for the error.

    Raises:
        InputError: not base64, or not a whole number of rows.
    """
    try:
        raw = _decode_fast(text, validate=True) if _decode_fast else binascii.a2b_base64(text)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: damaged base64 text ({error})") from error
    if len(raw) % (4 * (columns or 1)):
        raise InputError(f"{where}: {len(raw)} bytes are not whole rows of {columns or 1} float32 numbers")
    return np.frombuffer(raw, dtype="<f4").reshape(-1, columns) if columns else np.frombuffer(raw, dtype="<f4")[None]


def decoded_length(text: str | bytes | memoryview) -> int:
    """Number of bytes that base64 text without line breaks decodes to."""
    padding = 0
    for last in (text[-1:], text[-2:-1]):
        padding += last in ("=", b"=")
    return len(text) * 3 // 4 - padding


BOTTOM_UP = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
LXMERT = (
    *("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf"),
    *("num_boxes", "boxes", "features"),
)
_NAMES = {"img_id": "image_id", "img_h": "image_h", "img_w": "image_w"}


class TsvRegions(RegionSource):
    """Region features in a bottom-up TSV file.

    Args:
        path: the file.
        columns: names of its columns where they are not one of the two known orders.
    """

    format = "tsv"

    def __init__(self, path: str | Path, spec: FeatureSpec | None = None, columns: Sequence[str] | None = None) -> None:
        super().__init__(path, spec)
        self._columns = tuple(columns) if columns else None

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
        position = 0
        with self.path.open("rb") as stream:
            for line in stream:
                if line.strip():
                    keys.append(line.split(b"\t", 1)[0])
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
        columns = self._columns or {len(names): names for names in (BOTTOM_UP, LXMERT)}.get(len(parts))
        if columns is None or len(columns) != len(parts):
            raise InputError(
                f"{where}: {len(parts)} columns, expected {len(columns or BOTTOM_UP)}; give `columns` with their names"
            )
        row = {_NAMES.get(name, name): part for name, part in zip(columns, parts)}
        try:
            count, width, height = (int(row[name]) for name in ("num_boxes", "image_w", "image_h"))
        except (KeyError, ValueError) as error:
            raise InputError(f"{where}: num_boxes, image_w and image_h must be numbers ({error})") from None
        return Entry(count, partial(_decode, row, count, width, height, where))


def _decode(row: dict[str, bytes], count: int, width: int, height: int, where: str) -> RegionFeatures:
    """The arrays of one line."""
    length = decoded_length(row["features"])
    if count < 1 or length % (4 * count):
        raise InputError(f"{where}: {length} bytes of features do not divide into {count} regions")
    boxes = decode_floats(row["boxes"], 4, where)
    if len(boxes) != count:
        raise InputError(f"{where}: {count} regions, but {len(boxes)} boxes")
    return RegionFeatures(decode_floats(row["features"], length // 4 // count, where), boxes, width, height)
