"""References, sentences, annotations, images and categories of one data set as Arrow tables, with their cache.

Columns instead of a million small dictionaries: they load in milliseconds from the cache, are shared by forked workers,
and are searched with NumPy. Links are checked here once: every reference must have its object and its image.
"""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from pyutils.data.refer.instances import read_instances
from pyutils.data.refer.layout import ReferFiles
from pyutils.errors import InputError
from pyutils.formats import safe_pickle
from pyutils.formats.atomic import PathLike, atomic_write
from pyutils.formats.json_files import check_fields

TABLE_NAMES = ("refs", "sentences", "annotations", "images", "categories")
_REF_NUMBERS = ("ref_id", "ann_id", "category_id", "image_id")
_NUMBER, _TEXT, _REAL = pa.int64(), pa.string(), pa.float64()
_FORMAT = b"refer-tables-1"
_CHUNK = 1 << 22


@dataclass(frozen=True)
class ReferTables:
    """Tables in file order.

    refs: ref_id, ann_id, category_id, image_id int64; split, file_name text; sentences int64 (their number).
    sentences, consecutive for each reference: sent_id int64; raw, sent text; tokens list of text.
    annotations: id, image_id, category_id, iscrowd int64; area float64; bbox 4 float64 (x, y, w, h, pixels);
    outline_start, outline_stop int64 (bytes of instances.json, -1 without an outline).
    images, categories: the keys of the file.
    """

    refs: pa.Table
    sentences: pa.Table
    annotations: pa.Table
    images: pa.Table
    categories: pa.Table


def load_tables(files: ReferFiles, cache: PathLike | None = None) -> ReferTables:
    """Return the tables of `files` from the folder `cache`, or read them and cache them there.

    The cache is one Arrow file per content of the two files: columns only, mapped instead of read, never executed,
    written atomically, rebuilt if damaged. Raises as `read_tables`.
    """
    path = Path(cache or default_folder()) / f"{files.dataset}-{files.split_by}-{_content_key(files)[:32]}.arrow"
    tables = _read(path)
    if tables is None:
        tables = read_tables(files)
        with suppress(OSError):  # a cache that cannot be written, as in a read-only home, only costs time
            _write(path, tables)
    return tables


def read_tables(files: ReferFiles) -> ReferTables:
    """Read and check both files. Raises InputError naming the file, the entry and the problem."""
    with _no_collection():
        refs = safe_pickle.load(files.refs)
        parsed, spans, objects = read_instances(files.instances, columns=True)
        objects = None if objects is None else _regular(objects, spans)
        if objects is None:
            parsed, spans, _ = read_instances(files.instances)
            objects = _annotations(parsed["annotations"], spans, files)
        tables = ReferTables(
            *_expressions(refs, files),
            objects,
            _rows(parsed["images"], ("id", "file_name", "height", "width"), files, "images"),
            _rows(parsed["categories"], ("id", "name"), files, "categories"),
        )
    _check_links(tables, files)
    return tables


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disable garbage collection: parsing makes a million objects without cycles; collecting doubles its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _expressions(refs: Any, files: ReferFiles) -> tuple[pa.Table, pa.Table]:
    if not isinstance(refs, list) or not refs:
        found = f"a {type(refs).__name__}" if not isinstance(refs, list) else "an empty list"
        raise InputError(f"{files.refs}: expected a list of references, found {found}; download it again")
    try:
        sentences = list(chain.from_iterable(ref["sentences"] for ref in refs))
        columns = {name: pa.array([ref[name] for ref in refs], _NUMBER) for name in _REF_NUMBERS}
        columns["split"] = pa.array([ref["split"] for ref in refs], _TEXT)
        columns["file_name"] = pa.array([ref.get("file_name", "") for ref in refs], _TEXT)
        columns["sentences"] = pa.array([len(ref["sentences"]) for ref in refs], _NUMBER)
        text = {
            "sent_id": pa.array([item["sent_id"] for item in sentences], _NUMBER),
            "raw": pa.array([item["raw"] for item in sentences], _TEXT),
            "sent": pa.array([item["sent"] for item in sentences], _TEXT),
            "tokens": _lists([item["tokens"] for item in sentences]),
        }
    except (KeyError, TypeError, AttributeError, pa.ArrowException):
        _refuse_references(refs, files.refs)
    return pa.table(columns), pa.table(text)


def _lists(rows: list[list[str]]) -> pa.ListArray:
    """Convert lists of words to one column. TypeError for a row that is no list, ArrowException for other words."""
    if not all(type(row) is list for row in rows):
        raise TypeError("tokens are no list")
    # From offsets and values: several times faster than pa.array of lists.
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(list(chain.from_iterable(rows)), _TEXT))


def _refuse_references(refs: list[Any], path: Path) -> NoReturn:
    """Raise InputError for the first reference that does not fit the columns."""
    for number, ref in enumerate(refs):
        where = f"{path}: reference {number}"
        check_fields(ref, (*_REF_NUMBERS, "split", "sentences"), where)
        for sentence in ref["sentences"] if isinstance(ref["sentences"], list) else [None]:
            check_fields(sentence, ("sent_id", "raw", "sent", "tokens"), f"{where}, sentences")
    raise InputError(f"{path}: a reference has an id that is not a whole number, or tokens that are not text")


def _regular(objects: pa.Table, spans: list[tuple[int, int]]) -> pa.Table | None:
    """Return the annotations table of `Instances.objects`; None if a box does not have four numbers."""
    boxes = objects["bbox"].combine_chunks()
    values = boxes.flatten()
    if boxes.null_count or values.null_count or (boxes.value_lengths().to_numpy(zero_copy_only=False) != 4).any():
        return None
    columns = {name: objects[name] for name in ("id", "image_id", "category_id")}
    columns["iscrowd"], columns["area"] = objects["iscrowd"].fill_null(0), objects["area"].fill_null(0.0)
    columns["bbox"] = pa.FixedSizeListArray.from_arrays(values, 4)
    outlines = objects["segmentation"].fill_null(-1).to_numpy()
    for row, name in enumerate(("outline_start", "outline_stop")):
        ends = np.array([span[row] for span in spans] + [-1], dtype=np.int64)  # index -1: no outline
        columns[name] = pa.array(ends[outlines], _NUMBER)
    return pa.table(columns)


def _annotations(rows: list[dict[str, Any]], spans: list[tuple[int, int]], files: ReferFiles) -> pa.Table:
    """Return the annotations table of the rows of `Instances.content`. Raises InputError for missing fields."""
    outlines = [row.get("segmentation") for row in rows]
    starts = [spans[outline][0] if type(outline) is int else -1 for outline in outlines]
    stops = [spans[outline][1] if type(outline) is int else -1 for outline in outlines]
    try:
        columns = {name: pa.array([row[name] for row in rows], _NUMBER) for name in ("id", "image_id", "category_id")}
        columns["iscrowd"] = pa.array([row.get("iscrowd", 0) for row in rows], _NUMBER)
        columns["area"] = pa.array([float(row.get("area", 0)) for row in rows], _REAL)
        boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(len(rows), 4)
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{files.instances}: an annotation lacks id, image_id, category_id or a bbox of four numbers ({error!r})"
        ) from error
    columns["bbox"] = pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4)
    columns["outline_start"], columns["outline_stop"] = pa.array(starts, _NUMBER), pa.array(stops, _NUMBER)
    return pa.table(columns)


def _rows(rows: list[dict[str, Any]], needed: tuple[str, ...], files: ReferFiles, what: str) -> pa.Table:
    """Return a table with one column per key of any row; rows of one file need not have the same ones."""
    keys = dict.fromkeys((*chain.from_iterable(rows), *needed))
    try:
        return pa.table({key: pa.array([row[key] if key in needed else row.get(key) for row in rows]) for key in keys})
    except (KeyError, pa.ArrowException) as error:
        raise InputError(
            f'{files.instances}: "{what}" has entries without {error}, or with different types of it'
        ) from error


def _check_links(tables: ReferTables, files: ReferFiles) -> None:
    """Check that every reference's object, image and category is in instances.json, and that identifiers are unique."""
    refs = tables.refs
    for column, table, what in (
        ("ann_id", tables.annotations, "object"),
        ("image_id", tables.images, "image"),
        ("category_id", tables.categories, "category"),
    ):
        values = refs[column].to_numpy()
        lost = np.flatnonzero(~np.isin(values, table["id"].to_numpy()))
        if lost.size:
            ref_id = refs["ref_id"][int(lost[0])].as_py()
            raise InputError(
                f"{files.refs}: reference {ref_id} points to {what} {values[lost[0]]}, which is not in "
                f"{files.instances} ({lost.size} such references): the two files belong to different data sets"
            )
    for table, column, path in ((refs, "ref_id", files.refs), (tables.annotations, "id", files.instances)):
        values, counts = np.unique(table[column].to_numpy(), return_counts=True)
        if (counts > 1).any():
            raise InputError(f"{path}: {column} {values[counts > 1][0]} occurs {np.max(counts)} times, expected once")


def _write(path: Path, tables: ReferTables) -> None:
    with atomic_write(path, "wb") as stream:
        for name in TABLE_NAMES:
            table = getattr(tables, name).combine_chunks()
            with pa.ipc.new_stream(stream, table.schema) as writer:
                writer.write_table(table)


def _read(path: Path) -> ReferTables | None:
    """Return the cached tables, or None when there are none or they are damaged."""
    try:
        source = pa.memory_map(str(path))
        tables = [pa.ipc.open_stream(source).read_all() for _ in TABLE_NAMES]
        for table in tables:
            table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):
        return None
    return ReferTables(*tables)


def default_folder() -> Path:
    """Return `$PYUTILS_CACHE/refer`, else `~/.cache/paddle-vl-suite/refer`."""
    base = os.environ.get("PYUTILS_CACHE") or Path.home() / ".cache" / "paddle-vl-suite"
    return Path(base).expanduser() / "refer"


def _content_key(files: ReferFiles) -> str:
    """Return the hexadecimal sha256 of the format of the tables and the bytes of both files."""
    digest = hashlib.sha256(_FORMAT)
    for path in (files.refs, files.instances):
        digest.update(b"%d:" % path.stat().st_size)
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
