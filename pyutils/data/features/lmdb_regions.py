"""Region features in an LMDB: base64 text (ViLBERT) or plain arrays (12-in-1).

A value is a pickled dict with `features` and `boxes` (base64 of float32, or float32 arrays), `num_boxes`, `image_w` and
`image_h` (numbers or text), optionally `cls_prob`. The entry `keys`, a pickled list, is not needed: images are found by
their key.

LMDB refuses to open one path twice in a process and must not carry an open environment over a fork. Environments are
therefore kept in one table, opened when first used, and closed right before a fork: parent and child each open their
own again when they next read.
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
from pyutils.data.features.spec import RegionFeatures
from pyutils.data.features.tsv import decode_floats, decoded_length
from pyutils.errors import InputError
from pyutils.formats.safe_pickle import load

_LOCK = threading.RLock()
_OPEN: dict[Path, tuple[tuple[int, int, int], Any]] = {}


def _close_all() -> None:
    """Close every environment; they open again on demand."""
    for _, environment in _OPEN.values():
        environment.close()
    _OPEN.clear()


def _before_fork() -> None:
    """Wait for readers in other threads, then close."""
    _LOCK.acquire()
    _close_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


def data_file(path: Path) -> Path:
    """The file that holds an LMDB: `path/data.mdb`, or `path` itself."""
    return path / "data.mdb" if path.is_dir() else path


@contextmanager
def transaction(path: Path) -> Iterator[Any]:
    """A read transaction whose values are views of the file, valid inside the `with` block only.

    One thread of a process reads at a time. Raises InputError when there is no LMDB at `path` or it is truncated.
    """
    with _LOCK, _environment(path).begin(buffers=True) as reading:
        yield reading


def close(path: Path) -> None:
    """Close the environment of `path` in this process."""
    with _LOCK:
        _, environment = _OPEN.pop(path.resolve(), (None, None))
        if environment is not None:
            environment.close()


def _environment(path: Path) -> Any:
    """The open environment of `path`; a file that was replaced since is opened again."""
    real = path.resolve()
    file = data_file(real)
    try:
        status = file.stat()
    except FileNotFoundError:
        raise InputError(f"{path} is no LMDB: {file.name} is not there") from None
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
    if real in _OPEN and _OPEN[real][0] == stamp:
        return _OPEN[real][1]
    close(real)
    environment = _open(real, file.stat().st_size)
    _OPEN[real] = stamp, environment
    return environment


def _open(path: Path, size: int) -> Any:
    """Open and check the length: reading past the end of a truncated file would kill the process."""
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
_TEXT = (str, bytes, memoryview)
_GLANCE = 2048  # bytes of a value that are searched at either end
_NUM_BOXES = re.compile(
    rb"num_boxes(?:q.|r.{4}|\x94)?"  # the key and its place in the pickle's memo
    rb"(?:(?:X.{4}|\x8c.|U.)(?P<text>\d{1,5})(?=q|r|\x94|[^\d])|(?P<number>K.|M..|J.{3}\x00))",
    re.DOTALL,
)
_FEATURES = re.compile(rb"features(?:q.|r.{4}|\x94)?[XBT](?P<length>.{4})", re.DOTALL)
_FEATURES_WITHIN = 64 * 1024  # base64 of the boxes usually stands before the features


class LmdbRegions(RegionSource):
    """Region features in an LMDB folder or file, both value formats."""

    format = "lmdb"

    def _load_index(self) -> KeyIndex:
        with transaction(self.path) as reading:
            keys = [bytes(key) for key in reading.cursor().iternext(values=False)]
        # LMDB keeps keys in the order of their bytes, which is the order of the index.
        names = np.array([key for key in keys if key != _KEY_LIST] or [], dtype=np.bytes_)
        return KeyIndex(names, str(self.path))

    def _locate(self, position: int) -> Entry:
        key = bytes(self.index.keys[position])
        where = f"{self.path}, image '{key.decode()}'"
        with transaction(self.path) as reading:
            value = reading.get(key)
            if value is None:
                raise InputError(f"{where}: the entry has gone since the file was opened")
            count = _announced(value)
            if count is not None:
                return Entry(count, partial(self._decode_entry, key, where))
            regions = _decode(_load_item(value, where), where)
        return Entry(len(regions), lambda: regions)

    def _decode_entry(self, key: bytes, where: str) -> RegionFeatures:
        """Unpickle and decode one value while it is mapped."""
        with transaction(self.path) as reading:
            return _decode(_load_item(reading.get(key), where), where)

    def close(self) -> None:
        """Close the file in this process; it opens again when read."""
        close(self.path)


def _announced(value: memoryview) -> int | None:
    """`num_boxes` of a pickled dict, found without unpickling; None when it is not near the start or the end.

    A batch is sized by the numbers of its regions. Unpickling all its values for that would keep 64 long texts in
    memory, out of the processor's cache, and make reading half as fast.
    """
    match = _NUM_BOXES.search(value[:_GLANCE]) or _NUM_BOXES.search(value[-_GLANCE:])
    if match is None:
        return None
    text, number = match.group("text"), match.group("number")
    return int(text) if text else int.from_bytes(number[1:], "little")


def _load_item(value: memoryview, where: str) -> dict[str, Any]:
    """The dict of one value; long base64 features stay a view of the mapped file.

    The text is a megabyte an image. Cutting it out before unpickling, and decoding it where it lies, saves two copies
    of it, which is half of the reading time.
    """
    match = _FEATURES.search(value[:_FEATURES_WITHIN])
    item = None
    if match is not None:
        start = match.end()
        stop = start + int.from_bytes(match.group("length"), "little")
        # A pickle that counts its own bytes (protocol 4 frames around a short text) cannot be cut and is read whole.
        with suppress(InputError):
            item = load(b"".join((value[: start - 4], bytes(4), value[stop:])), where)
            if isinstance(item, dict):
                item["features"] = value[start:stop]
    if item is None:
        item = load(value, where)
    if not isinstance(item, dict) or "features" not in item:
        raise InputError(f"{where}: expected a dict with 'features', found {type(item).__name__}")
    return item


def _count(item: dict[str, Any], where: str) -> int:
    """Number of regions, checked against the length of the features before these are decoded."""
    features = item["features"]
    try:
        count = int(item["num_boxes"]) if "num_boxes" in item else len(features)
    except (TypeError, ValueError):
        raise InputError(f"{where}: num_boxes is {item['num_boxes']!r}") from None
    if isinstance(features, _TEXT):
        if "num_boxes" not in item:
            raise InputError(f"{where}: num_boxes is missing")
        length = decoded_length(features)
        if count < 0 or length % (4 * max(1, count)) or (count == 0) != (length == 0):
            raise InputError(f"{where}: {length} bytes of features do not divide into {count} regions")
    elif not isinstance(features, np.ndarray) or features.ndim != 2 or len(features) < count:
        shape = getattr(features, "shape", type(features).__name__)
        raise InputError(f"{where}: expected features [{count}, dimension], found {shape}")
    return count


def _decode(item: dict[str, Any], where: str) -> RegionFeatures:
    """The arrays of one value."""
    count = _count(item, where)
    features, boxes, probs = item["features"], item.get("boxes"), item.get("cls_prob")
    if isinstance(features, _TEXT):
        features = decode_floats(features, decoded_length(features) // 4 // count if count else None, where)
    if isinstance(boxes, _TEXT):
        boxes = decode_floats(boxes, 4, where)
    if isinstance(probs, _TEXT):
        probs = decode_floats(probs, decoded_length(probs) // 4 // max(1, count), where)
    for name, array in (("boxes", boxes), ("cls_prob", probs)):
        if array is not None and len(array) < count:
            raise InputError(f"{where}: {count} regions, but {len(array)} rows of {name}")
    try:
        width, height = int(item.get("image_w", 0)), int(item.get("image_h", 0))
    except (TypeError, ValueError):
        raise InputError(f"{where}: image_w and image_h must be numbers") from None
    return RegionFeatures(
        features[:count],
        None if boxes is None else boxes[:count, :4],
        width,
        height,
        None if probs is None else probs[:count],
    )
