"""Referring expressions of the RefCOCO family: queries, boxes, masks, splits.

Data sets: RefCOCO and RefCOCO+ (Yu et al., ECCV 2016, arXiv 1608.00272), RefCOCOg (Mao et al., CVPR 2016, arXiv
1511.02283; the "umd" splits of Nagaraja et al., ECCV 2016, arXiv 1608.00525). A *reference* is one object of one image
together with the sentences that name it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Union

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pyutils.data.records import ReferRecord
from pyutils.data.refer.cache import load_tables
from pyutils.data.refer.layout import locate
from pyutils.data.refer.masks import read_outlines, to_mask
from pyutils.data.refer.tables import ReferTables
from pyutils.data.table import RecordTable
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike

#: One identifier, several, or None for no restriction.
Ids = Union[int, Collection[int], None]


class Refer:
    """One splitting of one data set, opened for queries.

    `root` holds a folder a data set (`pyutils.data.refer.layout`); `split_by` is "unc", "umd" or "google", by default
    the usual one of the data set. `cache` is the folder of the index, by default `cache.default_folder()`.
    Identifiers are the integers of the files. A query given None (or nothing) does not restrict; given an empty
    collection it finds nothing.

    Raises InputError, naming the file and the entry, for missing or damaged files.
    """

    def __init__(
        self, root: PathLike, dataset: str = "refcoco+", split_by: str | None = None, cache: PathLike | None = None
    ) -> None:
        self.files = locate(root, dataset, split_by)
        self._tables = load_tables(self.files, cache)
        self._refs = _columns(self._tables.refs, ("ref_id", "ann_id", "category_id", "image_id", "sentences"))
        self._annotations = _columns(self._tables.annotations, ("id", "image_id", "category_id"))
        self._first_sentence = np.concatenate([[0], np.cumsum(self._refs["sentences"])])

    def __len__(self) -> int:
        """Number of references."""
        return len(self._refs["ref_id"])

    def __repr__(self) -> str:
        return f"Refer({self.files.dataset}, {self.files.split_by}, {len(self)} references, splits {self.splits})"

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in the order of the file."""
        return tuple(self._tables.refs["split"].unique().to_pylist())

    def ref_ids(
        self, split: str | None = None, image_ids: Ids = None, category_ids: Ids = None, ref_ids: Ids = None
    ) -> list[int]:
        """References that meet every condition, in the order of the file.

        `split` is one of `splits`; "test" means all test splits where there are several (testA and testB).
        Raises InputError for a split that does not exist, naming those that do.
        """
        keep = np.ones(len(self), dtype=bool) if split is None else self._in_split(split)
        for column, wanted in (("image_id", image_ids), ("category_id", category_ids), ("ref_id", ref_ids)):
            if wanted is not None:
                keep &= np.isin(self._refs[column], as_ids(wanted))
        return self._refs["ref_id"][keep].tolist()

    def ann_ids(self, image_ids: Ids = None, category_ids: Ids = None, ref_ids: Ids = None) -> list[int]:
        """Annotated objects that meet every condition, in the order of the file; with `image_ids`, image by image in
        the order asked for."""
        table = self._annotations
        rows = np.arange(len(table["id"]))
        if image_ids is not None:
            rows = self._annotation_rows_of(as_ids(image_ids))
        if category_ids is not None:
            rows = rows[np.isin(table["category_id"][rows], as_ids(category_ids))]
        if ref_ids is not None:
            objects = self._refs["ann_id"][self._ref_rows(ref_ids)]
            rows = rows[np.isin(table["id"][rows], objects)]
        return table["id"][rows].tolist()

    def image_ids(self, ref_ids: Ids = None) -> list[int]:
        """Images of these references, ascending, each once; without `ref_ids` all images in the order of the file."""
        if ref_ids is None:
            return self._tables.images["id"].to_pylist()
        return np.unique(self._refs["image_id"][self._ref_rows(ref_ids)]).tolist()

    def category_ids(self) -> list[int]:
        """All categories, in the order of the file."""
        return self._tables.categories["id"].to_pylist()

    def refs(self, ref_ids: Ids = None) -> list[dict[str, Any]]:
        """References as the file writes them (ref_id, ann_id, category_id, image_id, file_name, split, sent_ids,
        sentences), in the order asked for. Raises InputError for an unknown identifier, as all of these do."""
        rows = np.arange(len(self)) if ref_ids is None else self._ref_rows(ref_ids)
        found = self._tables.refs.take(pa.array(rows)).to_pylist()
        for row, ref in zip(rows, found):
            start, count = int(self._first_sentence[row]), ref.pop("sentences")
            ref["sentences"] = self._tables.sentences.slice(start, count).to_pylist()
            ref["sent_ids"] = [sentence["sent_id"] for sentence in ref["sentences"]]
        return found

    def annotations(self, ann_ids: Ids = None) -> list[dict[str, Any]]:
        """Objects as COCO writes them: id, image_id, category_id, bbox (x, y, w, h; pixels), area, iscrowd and
        segmentation; in the order asked for."""
        rows = np.arange(len(self._annotations["id"])) if ann_ids is None else self._annotation_index.rows(ann_ids)
        found = self._tables.annotations.take(pa.array(rows)).to_pylist()
        spans = [(annotation.pop("outline_start"), annotation.pop("outline_stop")) for annotation in found]
        for annotation, outline in zip(found, read_outlines(self.files.instances, spans)):
            annotation["segmentation"] = outline
        return found

    def images(self, image_ids: Ids = None) -> list[dict[str, Any]]:
        """Images as COCO writes them: id, file_name, height, width (pixels) and what else the file says."""
        return _as_written(self._tables.images, self._image_index, image_ids)

    def categories(self, category_ids: Ids = None) -> list[dict[str, Any]]:
        """Categories as COCO writes them: id, name and what else the file says."""
        return _as_written(self._tables.categories, self._category_index, category_ids)

    def box(self, ref_id: int) -> tuple[float, float, float, float]:
        """x, y, width, height in pixels of the object that the reference means."""
        return tuple(self.boxes([ref_id])[0].tolist())

    def boxes(self, ref_ids: Ids = None) -> np.ndarray:
        """Boxes [references, 4] float64: x, y, width, height in pixels."""
        refs = np.arange(len(self)) if ref_ids is None else self._ref_rows(ref_ids)
        return self._all_boxes[self._annotation_index.rows(self._refs["ann_id"][refs])]

    def mask(self, ref_id: int) -> np.ndarray:
        """Mask [height, width] uint8 of the object that the reference means, 1 inside.

        Raises InputError when the object has no outline or pycocotools is not installed.
        """
        ref = self._ref_rows(ref_id)
        annotation = self.annotations(self._refs["ann_id"][ref])[0]
        image = self.images(self._refs["image_id"][ref])[0]
        where = f"{self.files.instances}: annotation {annotation['id']}"
        return to_mask(annotation["segmentation"], image["height"], image["width"], where)

    def records(
        self, split: str, only_images: Collection[int] | None = None, without_images: Collection[int] = ()
    ) -> RecordTable[ReferRecord]:
        """One record a sentence of `split`, in the order of the file; the expression is the sentence as written.

        `only_images` and `without_images` (image identifiers) restrict them: multi-task training leaves out images that
        another task tests on. Raises InputError for a split that does not exist, and when nothing is left.
        """
        keep = self._in_split(split)
        keep &= ~np.isin(self._refs["image_id"], as_ids(without_images))
        if only_images is not None:
            keep &= np.isin(self._refs["image_id"], as_ids(only_images))
        rows = np.flatnonzero(keep)
        if not rows.size:
            raise InputError(f"{self.files.refs}: no reference of split {split!r} is left by the images asked for")
        boxes = self.boxes(self._refs["ref_id"][rows])
        return _refer_records(self._tables, rows, boxes)

    def _in_split(self, split: str) -> np.ndarray:
        """Which references [n] bool belong to `split`."""
        names = [split]
        if split not in self.splits:
            names = [name for name in self.splits if split == "test" and name.startswith("test")]
        if not names:
            raise InputError(
                f"{self.files.refs}: there is no split {split!r}; it has {', '.join(self.splits)} "
                f"({nearest(split, self.splits)})"
            )
        return pc.is_in(self._tables.refs["split"], value_set=pa.array(names)).to_numpy()

    def _ref_rows(self, ref_ids: Ids) -> np.ndarray:
        return self._ref_index.rows(ref_ids)

    def _annotation_rows_of(self, images: np.ndarray) -> np.ndarray:
        """Rows of the objects of `images`, image by image in that order."""
        order, values = self._annotations_by_image
        starts, stops = np.searchsorted(values, images), np.searchsorted(values, images, side="right")
        return np.concatenate([order[:0], *(order[start:stop] for start, stop in zip(starts, stops))])

    @cached_property
    def _annotations_by_image(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self._annotations["image_id"], kind="stable")
        return order, self._annotations["image_id"][order]

    @cached_property
    def _all_boxes(self) -> np.ndarray:
        column = self._tables.annotations["bbox"].combine_chunks()
        return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)

    @cached_property
    def _ref_index(self) -> IdIndex:
        return IdIndex(self._refs["ref_id"], "reference", str(self.files.refs))

    @cached_property
    def _annotation_index(self) -> IdIndex:
        return IdIndex(self._annotations["id"], "annotation", str(self.files.instances))

    @cached_property
    def _image_index(self) -> IdIndex:
        return IdIndex(self._tables.images["id"].to_numpy(), "image", str(self.files.instances))

    @cached_property
    def _category_index(self) -> IdIndex:
        return IdIndex(self._tables.categories["id"].to_numpy(), "category", str(self.files.instances))


def _columns(table: pa.Table, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: table[name].to_numpy() for name in names}


def _as_written(table: pa.Table, index: IdIndex, ids: Ids) -> list[dict[str, Any]]:
    """Rows as dictionaries without the keys that the file leaves out there."""
    chosen = table if ids is None else table.take(pa.array(index.rows(ids)))
    return [{key: value for key, value in row.items() if value is not None} for row in chosen.to_pylist()]


class IdIndex:
    """Rows of identifiers, by binary search."""

    def __init__(self, values: np.ndarray, what: str, path: str) -> None:
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]
        self._what, self._path = what, path

    def rows(self, ids: Ids) -> np.ndarray:
        """Rows of `ids`, in their order. Raises InputError naming the first that is not there."""
        wanted = as_ids(ids)
        places = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        lost = self._sorted[places] != wanted
        if lost.any():
            raise InputError(f"{self._path}: there is no {self._what} {wanted[lost][0]} ({lost.sum()} not found)")
        return self._order[places]


def as_ids(ids: Any) -> np.ndarray:
    """Identifiers as int64; a single one becomes an array of one. Raises InputError for what is not a whole number."""
    values = np.atleast_1d(np.asarray(ids if isinstance(ids, (int, str, np.ndarray)) else list(ids)))
    if values.size and values.dtype.kind not in "iu":
        raise InputError(f"identifiers are whole numbers; found {values.reshape(-1).tolist()[0]!r}")
    return values.astype(np.int64).reshape(-1)


def _refer_records(tables: ReferTables, rows: np.ndarray, boxes: np.ndarray) -> RecordTable[ReferRecord]:
    """One record for each sentence of the references in `rows` ([n] int64), in their order.

    `boxes` [n, 4] float64 are the references' boxes, x, y, width, height in pixels.
    """
    return RecordTable(ReferRecord, _records(tables, rows, boxes))


def _records(tables: ReferTables, rows: np.ndarray, boxes: np.ndarray) -> Iterator[ReferRecord]:
    names = zip(tables.images["id"].to_pylist(), tables.images["file_name"].to_pylist())
    keys = {image_id: PurePosixPath(name).stem for image_id, name in names}
    counts = tables.refs["sentences"].to_numpy()
    ends = np.cumsum(counts)
    refs = tables.refs.take(pa.array(rows))
    columns = [refs[name].to_pylist() for name in ("ref_id", "image_id", "ann_id", "category_id")]
    sent_ids, raw = tables.sentences["sent_id"].to_pylist(), tables.sentences["raw"].to_pylist()
    for row, box, ref_id, image_id, ann_id, category_id in zip(rows, boxes.tolist(), *columns):
        for place in range(ends[row] - counts[row], ends[row]):
            yield ReferRecord(
                ref_id=ref_id,
                sentence_id=sent_ids[place],
                image=keys[image_id],
                image_id=image_id,
                expression=raw[place],
                box=tuple(box),
                ann_id=ann_id,
                category_id=category_id,
            )
