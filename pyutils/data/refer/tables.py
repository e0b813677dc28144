"""The columns of one data set: references, sentences, annotations, images and categories as Arrow tables.

Columns instead of a million small dictionaries: they load in milliseconds from a cache, fork cheaply, and are searched
with NumPy. Reading is checked here, once: every reference must have its object and its image.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from pyutils.data.refer.instances import read_instances
from pyutils.data.refer.layout import ReferFiles
from pyutils.errors import InputError
from pyutils.formats import safe_pickle

TABLE_NAMES = ("refs", "sentences", "annotations", "images", "categories")
_REF_NUMBERS = ("ref_id", "ann_id", "category_id", "image_id")
_NUMBER, _TEXT, _REAL = pa.int64(), pa.string(), pa.float64()


@dataclass(frozen=True)
class ReferTables:
    """Tables in file order.

    refs: ref_id, ann_id, category_id, image_id int64; split, file_name text; sentences int64 (how many).
    sentences, those of one reference after those of the one before: sent_id int64; raw, sent text; tokens list of text.
    annotations: id, image_id, category_id, iscrowd int64; area float64; bbox 4 float64 (x, y, w, h, pixels);
    outline_start, outline_stop int64 (bytes of instances.json, -1 without an outline).
    images, categories: the keys of the file.
    """

    refs: pa.Table
    sentences: pa.Table
    annotations: pa.Table
    images: pa.Table
    categories: pa.Table


def read_tables(files: ReferFiles) -> ReferTables:
    """Read and check both files. Raises InputError naming the file, the entry and what is wrong with it."""
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
    """No garbage collection meanwhile: parsing makes a million objects without cycles; collecting doubles its time."""
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
    except (KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise InputError(_bad_reference(refs, files)) from error
    return pa.table(columns), pa.table(text)


def _lists(rows: list[list[str]]) -> pa.ListArray:
    """Lists of words as one column. TypeError for a row that is no list, ArrowException for words that are no text."""
    if not all(type(row) is list for row in rows):
        raise TypeError("words that are not in a list")
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(list(chain.from_iterable(rows)), _TEXT))


def _bad_reference(refs: list[Any], files: ReferFiles) -> str:
    """Which reference could not be put into columns, and why."""
    for number, ref in enumerate(refs):
        if not isinstance(ref, dict):
            return f"{files.refs}: reference {number}: expected a dictionary, found a {type(ref).__name__}"
        name = f"{files.refs}: reference {number} (ref_id {ref.get('ref_id', 'missing')})"
        for key in (*_REF_NUMBERS, "split", "sentences"):
            if key not in ref:
                return f'{name}: expected the key "{key}", found {", ".join(map(str, sorted(ref)))}'
        for sentence in ref["sentences"] if isinstance(ref["sentences"], list) else [None]:
            if not isinstance(sentence, dict) or not {"sent_id", "raw", "sent", "tokens"} <= sentence.keys():
                return f"{name}: expected sentences with sent_id, raw, sent and tokens, found {sentence!r}"
    return f"{files.refs}: some reference has an id that is not a whole number, or words that are not text"


def _regular(objects: pa.Table, spans: list[tuple[int, int]]) -> pa.Table | None:
    """`_annotations` of annotations that are columns already; None where some box does not have four numbers."""
    boxes = objects["bbox"].combine_chunks()
    values = boxes.flatten()
    if boxes.null_count or values.null_count or (boxes.value_lengths().to_numpy(zero_copy_only=False) != 4).any():
        return None
    columns = {name: objects[name] for name in ("id", "image_id", "category_id")}
    columns["iscrowd"], columns["area"] = objects["iscrowd"].fill_null(0), objects["area"].fill_null(0.0)
    columns["bbox"] = pa.FixedSizeListArray.from_arrays(values, 4)
    places = objects["segmentation"].fill_null(-1).to_numpy()
    for row, name in enumerate(("outline_start", "outline_stop")):
        ends = np.array([span[row] for span in spans] + [-1], dtype=np.int64)  # the last one: no outline
        columns[name] = pa.array(ends[places], _NUMBER)
    return pa.table(columns)


def _annotations(rows: list[dict[str, Any]], spans: list[tuple[int, int]], files: ReferFiles) -> pa.Table:
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
            f"{files.instances}: some annotation lacks id, image_id, category_id or a bbox of four numbers ({error!r})"
        ) from error
    columns["bbox"] = pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4)
    columns["outline_start"], columns["outline_stop"] = pa.array(starts, _NUMBER), pa.array(stops, _NUMBER)
    return pa.table(columns)


def _rows(rows: list[dict[str, Any]], needed: tuple[str, ...], files: ReferFiles, what: str) -> pa.Table:
    """One column a key, of all rows' keys: rows of one file need not have the same ones."""
    keys = list(dict.fromkeys(chain.from_iterable(rows)))
    missing = [key for key in needed if not all(key in row for row in rows)]
    if missing:
        raise InputError(f'{files.instances}: "{what}" has entries without {", ".join(missing)}')
    try:
        return pa.table({key: pa.array([row.get(key) for row in rows]) for key in keys})
    except pa.ArrowException as error:
        raise InputError(
            f'{files.instances}: "{what}" has entries of different kinds under one key ({error})'
        ) from error


def _check_links(tables: ReferTables, files: ReferFiles) -> None:
    """Every reference's object, image and category must be in instances.json, and no identifier may be there twice."""
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
                f"{files.refs}: reference {ref_id} points to {what} {values[lost[0]]}, which {files.instances} "
                f"does not hold ({lost.size} such references): the two files belong to different data sets"
            )
    for table, column, path in ((refs, "ref_id", files.refs), (tables.annotations, "id", files.instances)):
        values, counts = np.unique(table[column].to_numpy(), return_counts=True)
        if (counts > 1).any():
            raise InputError(
                f"{path}: {column} {values[counts > 1][0]} stands there {counts.max()} times, expected once"
            )
