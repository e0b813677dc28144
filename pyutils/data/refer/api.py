"""Query referring expressions of the RefCOCO family: splits, boxes, masks.

Data sets: RefCOCO and RefCOCO+ (Yu et al., ECCV 2016, arXiv 1608.00272), RefCOCOg (Mao et al., CVPR 2016, arXiv
1511.02283; the "umd" splits of Nagaraja et al., ECCV 2016, arXiv 1608.00525). A *reference* is one object of one image
with the sentences that refer to it.
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
from pyutils.data.refer.instances import read_outlines, to_mask
from pyutils.data.refer.layout import locate
from pyutils.data.refer.tables import load_tables
from pyutils.data.table import RecordTable
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike

#: One identifier, several, or None for no restriction.
Ids = Union[int, Collection[int], None]


class Refer:
    """One split scheme of one data set, opened for queries.

    `root` has one folder per data set (`pyutils.data.refer.layout`); `split_by` is "unc", "umd" or "google", by default
    the usual one of the data set. `cache` is the folder of the index (default: `tables.default_folder()`).
    Identifiers are the integers of the files. In a query None means no restriction, an empty collection finds nothing.
    Results are in the order of the identifiers given, or of the file.

    Raises InputError, naming the file and the entry, for missing or damaged files. All queries raise it for unknown
    identifiers.
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
        """Names of the splits in the order of the file."""
        return tuple(self._tables.refs["split"].unique().to_pylist())

    def ref_ids(
        self, split: str | None = None, image_ids: Ids = None, category_ids: Ids = None, ref_ids: Ids = None
    ) -> list[int]:
        """Return the references that meet every condition, in the order of the file.

        `split` is one of `splits`, or "test" for all test splits (testA and testB). Raises InputError for a split that
        does not exist, naming those that do.
        """
        keep = np.ones(len(self), dtype=bool) if split is None else self._in_split(split)
        for column, wanted in (("image_id", image_ids), ("category_id", category_ids), ("ref_id", ref_ids)):
            if wanted is not None:
                keep &= np.isin(self._refs[column], as_ids(wanted))
        return self._refs["ref_id"][keep].tolist()

    def ann_ids(self, image_ids: Ids = None, category_ids: Ids = None, ref_ids: Ids = None) -> list[int]:
        """Return the annotated objects that meet every condition; with `image_ids`, image by image in that order."""
        table = self._annotations
        rows = np.arange(len(table["id"]))
        if image_ids is not None:
            order, values = self._annotations_by_image
            images = as_ids(image_ids)
            starts, stops = np.searchsorted(values, images), np.searchsorted(values, images, side="right")
            rows = np.concatenate([order[:0], *(order[start:stop] for start, stop in zip(starts, stops))])
        if category_ids is not None:
            rows = rows[np.isin(table["category_id"][rows], as_ids(category_ids))]
        if ref_ids is not None:
            objects = self._refs["ann_id"][self._rows("reference", ref_ids)]
            rows = rows[np.isin(table["id"][rows], objects)]
        return table["id"][rows].tolist()

    def image_ids(self, ref_ids: Ids = None) -> list[int]:
        """Return the images of these references, ascending, each once; by default all in the order of the file."""
        if ref_ids is None:
            return self._tables.images["id"].to_pylist()
        return np.unique(self._refs["image_id"][self._rows("reference", ref_ids)]).tolist()

    def category_ids(self) -> list[int]:
        """Return all categories in the order of the file."""
        return self._tables.categories["id"].to_pylist()

    def refs(self, ref_ids: Ids = None) -> list[dict[str, Any]]:
        """Return references as in the file, with the keys ref_id, ann_id, category_id, image_id, file_name, split,
        sent_ids, sentences."""
        rows = self._rows("reference", ref_ids)
        found = self._tables.refs.take(pa.array(rows)).to_pylist()
        for row, ref in zip(rows, found):
            start, count = int(self._first_sentence[row]), ref.pop("sentences")
            ref["sentences"] = self._tables.sentences.slice(start, count).to_pylist()
            ref["sent_ids"] = [sentence["sent_id"] for sentence in ref["sentences"]]
        return found

    def annotations(self, ann_ids: Ids = None) -> list[dict[str, Any]]:
        """Return objects with COCO's keys: id, image_id, category_id, bbox (x, y, w, h; pixels), area, iscrowd,
        segmentation."""
        found = self._tables.annotations.take(pa.array(self._rows("annotation", ann_ids))).to_pylist()
        spans = [(annotation.pop("outline_start"), annotation.pop("outline_stop")) for annotation in found]
        for annotation, outline in zip(found, read_outlines(self.files.instances, spans)):
            annotation["segmentation"] = outline
        return found

    def images(self, image_ids: Ids = None) -> list[dict[str, Any]]:
        """Return images with the keys of the file: id, file_name, height, width (pixels) and others."""
        return _dictionaries(self._tables.images.take(pa.array(self._rows("image", image_ids))))

    def categories(self, category_ids: Ids = None) -> list[dict[str, Any]]:
        """Return categories with the keys of the file: id, name and others."""
        return _dictionaries(self._tables.categories.take(pa.array(self._rows("category", category_ids))))

    def box(self, ref_id: int) -> tuple[float, float, float, float]:
        """Return x, y, width, height in pixels of the object of the reference."""
        return tuple(self.boxes([ref_id])[0].tolist())

    def boxes(self, ref_ids: Ids = None) -> np.ndarray:
        """Return the boxes [references, 4] float64: x, y, width, height in pixels."""
        objects = self._refs["ann_id"][self._rows("reference", ref_ids)]
        return self._all_boxes[self._rows("annotation", objects)]

    def mask(self, ref_id: int) -> np.ndarray:
        """Return the mask [height, width] uint8 of the object of the reference, 1 inside.

        Raises InputError when the object has no outline or pycocotools is not installed.
        """
        ref = self._rows("reference", ref_id)
        annotation = self.annotations(self._refs["ann_id"][ref])[0]
        image = self.images(self._refs["image_id"][ref])[0]
        where = f"{self.files.instances}: annotation {annotation['id']}"
        return to_mask(annotation["segmentation"], image["height"], image["width"], where)

    def records(
        self, split: str, only_images: Collection[int] | None = None, without_images: Collection[int] = ()
    ) -> RecordTable[ReferRecord]:
        """Return one record per sentence of `split` in the order of the file; its expression is the raw sentence.

        `only_images` and `without_images` (image identifiers) restrict them: multi-task training leaves out the test
        images of other tasks. Raises InputError for a split that does not exist, and when nothing is left.
        """
        keep = self._in_split(split)
        keep &= ~np.isin(self._refs["image_id"], as_ids(without_images))
        if only_images is not None:
            keep &= np.isin(self._refs["image_id"], as_ids(only_images))
        rows = np.flatnonzero(keep)
        if not rows.size:
            raise InputError(f"{self.files.refs}: no reference of split {split!r} is left with these images")
        return RecordTable(ReferRecord, self._records(rows))

    def _records(self, rows: np.ndarray) -> Iterator[ReferRecord]:
        """Yield one record for each sentence of the references in `rows` [n] int64."""
        tables = self._tables
        names = zip(tables.images["id"].to_pylist(), tables.images["file_name"].to_pylist())
        keys = {image_id: PurePosixPath(name).stem for image_id, name in names}
        boxes = self.boxes(self._refs["ref_id"][rows]).tolist()
        refs = tables.refs.take(pa.array(rows))
        columns = [refs[name].to_pylist() for name in ("ref_id", "image_id", "ann_id", "category_id")]
        sent_ids, raw = tables.sentences["sent_id"].to_pylist(), tables.sentences["raw"].to_pylist()
        for row, box, ref_id, image_id, ann_id, category_id in zip(rows, boxes, *columns):
            for index in range(self._first_sentence[row], self._first_sentence[row + 1]):
                yield ReferRecord(
                    ref_id=ref_id,
                    sentence_id=sent_ids[index],
                    image=keys[image_id],
                    image_id=image_id,
                    expression=raw[index],
                    box=tuple(box),
                    ann_id=ann_id,
                    category_id=category_id,
                )

    def _in_split(self, split: str) -> np.ndarray:
        """Return [references] bool, True for those of `split`."""
        names = [split]
        if split not in self.splits:
            names = [name for name in self.splits if split == "test" and name.startswith("test")]
        if not names:
            raise InputError(
                f"{self.files.refs}: there is no split {split!r}; it has {', '.join(self.splits)} "
                f"({nearest(split, self.splits)})"
            )
        return pc.is_in(self._tables.refs["split"], value_set=pa.array(names)).to_numpy()

    def _rows(self, what: str, ids: Ids) -> np.ndarray:
        """Return the rows of `ids` in their order, all for None. Raises InputError naming the first unknown one."""
        values, order = self._indices[what]
        if ids is None:
            return np.arange(len(values))
        wanted = as_ids(ids)
        rows = order[np.minimum(np.searchsorted(values, wanted, sorter=order), len(values) - 1)]
        unknown = values[rows] != wanted
        if unknown.any():
            path = self.files.refs if what == "reference" else self.files.instances
            raise InputError(f"{path}: there is no {what} {wanted[unknown][0]} ({unknown.sum()} not found)")
        return rows

    @cached_property
    def _indices(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Identifiers in file order, and the rows that sort them."""
        columns = {
            "reference": self._refs["ref_id"],
            "annotation": self._annotations["id"],
            "image": self._tables.images["id"].to_numpy(),
            "category": self._tables.categories["id"].to_numpy(),
        }
        return {what: (values, np.argsort(values, kind="stable")) for what, values in columns.items()}

    @cached_property
    def _annotations_by_image(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self._annotations["image_id"], kind="stable")
        return order, self._annotations["image_id"][order]

    @cached_property
    def _all_boxes(self) -> np.ndarray:
        column = self._tables.annotations["bbox"].combine_chunks()
        return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)


def _columns(table: pa.Table, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: table[name].to_numpy() for name in names}


def _dictionaries(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows without the keys that the file omits there."""
    return [{key: value for key, value in row.items() if value is not None} for row in table.to_pylist()]


def as_ids(ids: Any) -> np.ndarray:
    """Convert one identifier or several to [n] int64. Raises InputError for anything but whole numbers."""
    values = np.atleast_1d(np.asarray(ids if isinstance(ids, (int, str, np.ndarray)) else list(ids)))
    if values.size and values.dtype.kind not in "iu":
        raise InputError(f"identifiers are whole numbers; found {values.reshape(-1).tolist()[0]!r}")
    return values.astype(np.int64).reshape(-1)
