"""Region features in an LMDB: base64 text (ViLBERT) or plain arrays (12-in-1).

A value is a pickled dict with `features` and `boxes` (base64 of float32, or float32 arrays), `num_boxes`, `image_w` and
`image_h` (numbers or text), optionally `cls_prob`. The entry `keys`, a pickled list, is not needed: images are found by
their key.

LMDB refuses to open one path twice in a process, and an open environment must not be used after a fork. So environments
are kept in one table, opened on first use, and closed right before a fork; parent and child open their own again.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.data.features.keys import KeyIndex
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import RegionFeatures, make_regions
from pyutils.data.features.stored_fields import field, number
from pyutils.data.features.tsv import decode_floats
from pyutils.errors import InputError
from pyutils.formats.safe_pickle import load

_LOCK = threading.RLock()
_OPEN: dict[Path, tuple[tuple[int, int, int], Any]] = {}


def _close_all() -> None:
    """Close every environment; they open again on demand."""
    for _, environment in _OPEN.values():
        environment.close()
    _OPEN.clear()


def close_environment(path: Path) -> None:
    """Close the environment of `path`, so that this process may write to it; readers open it again."""
    with _LOCK:
        _, environment = _OPEN.pop(path.resolve(), (None, None))
        if environment:
            environment.close()


def _before_fork() -> None:
    """Wait for readers in other threads, then close."""
    _LOCK.acquire()
    _close_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


@contextmanager
def transaction(path: Path) -> Iterator[Any]:
    """A read transaction whose values are views of the file, valid inside the `with` block only.

    One thread of a process reads at a time. Raises InputError when there is no LMDB at `path` or it is truncated.
    """
    with _LOCK, _environment(path).begin(buffers=True) as reading:
        yield reading


def _environment(path: Path) -> Any:
    """The open environment of `path`; reopened if the file was replaced."""
    real = path.resolve()
    file = real / "data.mdb" if real.is_dir() else real
    try:
        status = file.stat()
    except FileNotFoundError:
        raise InputError(f"{path} is no LMDB: {file.name} is missing") from None
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
    if real in _OPEN:
        previous, environment = _OPEN[real]
        if previous == stamp:
            return environment
        _OPEN.pop(real)[1].close()
    _OPEN[real] = stamp, _open(real, status.st_size)
    return _OPEN[real][1]


def _open(path: Path, size: int) -> Any:
    """Open and check the length: reading beyond the end of a truncated file would kill the process."""
    try:
        import lmdb
    except ImportError:
        raise InputError(f"{path} is an LMDB: install the 'lmdb' package to read it") from None
    try:
        environment = lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, max_dbs=0)
    except lmdb.Error as error:
        raise InputError(f"{path} cannot be opened as an LMDB ({error}): copy or download it again") from error
    expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if size < expected:
        environment.close()
        raise InputError(f"{path} is truncated: {size} bytes, expected at least {expected}; copy or download it again")
    return environment


_KEY_LIST = b"keys"
_TENSORPACK_KEYS = b"__keys__"
_TEXT = (str, bytes, memoryview)
_SEARCHED = 2048  # bytes searched at either end of a value
_NUM_BOXES = re.compile(
    rb"num_boxes(?:q.|r.{4}|\x94)?"  # the key and its position in the pickle's memo
    rb"(?:(?:X.{4}|\x8c.|U.)(?P<text>\d{1,5})(?=q|r|\x94|[^\d])|(?P<number>K.|M..|J.{3}\x00))",
    re.DOTALL,
)
_FEATURES = re.compile(rb"features(?:q.|r.{4}|\x94)?[XBT](?P<length>.{4})", re.DOTALL)
_FEATURES_WITHIN = 64 * 1024  # the base64 boxes usually precede the features


class LmdbRegions(RegionSource):
    """Region features in an LMDB folder or file, both value formats."""

    format = "lmdb"

    def _load_index(self) -> KeyIndex:
        with transaction(self.path) as reading:
            keys = [bytes(key) for key in reading.cursor().iternext(values=False)]
        if _TENSORPACK_KEYS in keys:
            raise InputError(
                f"{self.path} is an LMDB of tensorpack (numbered msgpack records), which has no image keys: write its "
                "images to .npz files with box_features and cls_boxes, or take the TSV that it was made from"
            )
        # LMDB keeps keys in the order of their bytes, which is the order of the index.
        names = np.array([key for key in keys if key != _KEY_LIST] or [], dtype=np.bytes_)
        return KeyIndex(names, str(self.path))

    def _locate(self, position: int) -> Entry:
        key = bytes(self.index.keys[position])
        where = f"{self.path}, image '{self.index.name(position)}'"
        with transaction(self.path) as reading:
            value = reading.get(key)
            # Arrays keep all their rows, as in the original reader: `num_boxes` counts those of base64 text alone.
            count = _announced(value) if _FEATURES.search(value[:_FEATURES_WITHIN]) else None
            if count is not None:
                return Entry(count, partial(self._decode_entry, key, where))
            regions = _decode(_load_item(value, where), where)
        return Entry(len(regions), lambda: regions)

    def _decode_entry(self, key: bytes, where: str) -> RegionFeatures:
        """Unpickle and decode one value while it is mapped."""
        with transaction(self.path) as reading:
            return _decode(_load_item(reading.get(key), where), where)


def _announced(value: memoryview) -> int | None:
    """Find `num_boxes` of a pickled dict without unpickling; None when it is not near the start or the end.

    A batch array is allocated from the region counts. Unpickling all values for that would push 64 long texts through
    the processor's cache and halve the reading speed.
    """
    match = _NUM_BOXES.search(value[:_SEARCHED]) or _NUM_BOXES.search(value[-_SEARCHED:])
    if match is None:
        return None
    text, number = match.group("text"), match.group("number")
    return int(text) if text else int.from_bytes(number[1:], "little")


def _load_item(value: memoryview, where: str) -> dict[str, Any]:
    """Unpickle the dict of one value; long base64 features stay a view of the mapped file.

    The text is a megabyte per image. Cutting it out before unpickling, and decoding it in place, saves two copies of
    it, which is half of the reading time.
    """
    match = _FEATURES.search(value[:_FEATURES_WITHIN])
    item = None
    if match is not None:
        start = match.end()
        stop = start + int.from_bytes(match.group("length"), "little")
        # A pickle that counts its own bytes (protocol 4 frames around a short text) cannot be cut.
        with suppress(InputError):
            item = load(b"".join((value[: start - 4], bytes(4), value[stop:])), where)
            if isinstance(item, dict):
                item["features"] = value[start:stop]
    if item is None:
        item = load(value, where)
    if not isinstance(item, dict) or "features" not in item:
        raise InputError(f"{where}: expected a dict with 'features', found {type(item).__name__}")
    return item


def _decode(item: dict[str, Any], where: str) -> RegionFeatures:
    """The arrays of one value."""
    features, boxes, probs = (field(item, name) for name in ("features", "boxes", "class_probs"))
    rows_stored = len(features) if isinstance(features, np.ndarray) and features.ndim else None
    count = number(item, "num_boxes", where) if rows_stored is None else rows_stored
    rows = (count, -1) if count else (0, 0)
    if isinstance(features, _TEXT):
        features = decode_floats(features, rows, where)
    if isinstance(boxes, _TEXT):
        boxes = decode_floats(boxes, (-1, 4), where)
    if isinstance(probs, _TEXT):
        probs = decode_floats(probs, rows, where)
    size = number(item, "width", where, 0), number(item, "height", where, 0)
    return make_regions(where, features, boxes, size, probs, count)
