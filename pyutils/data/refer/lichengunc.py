"""The `REFER` class of github.com/lichengunc/refer, for existing scripts; new code uses `pyutils.data.refer.Refer`.

Results equal the original's, including its quirks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property
from typing import Any, Union

import numpy as np

from pyutils.data.refer.api import Refer
from pyutils.formats.atomic import PathLike

_SPLITS_OF_THE_ORIGINAL = ("testA", "testB", "testC", "testAB")
_Ids = Union[int, Collection[int]]


class REFER(Refer):
    """`REFER(data_root, dataset, splitBy)` with the original's methods and dictionaries.

    An empty list means "no restriction", as in the original. Differences: unknown splits and identifiers raise
    InputError (the original ends the process), and `getRefIds(image_ids=…)` works.
    """

    def __init__(
        self,
        data_root: PathLike,
        dataset: str = "refcoco",
        splitBy: str = "unc",  # noqa: N803 - the original's keyword
        cache: PathLike | None = None,
    ) -> None:
        super().__init__(data_root, dataset, splitBy, cache)

    def getRefIds(self, ref_ids: _Ids = (), cat_ids: _Ids = (), split: str = "", image_ids: _Ids = ()) -> list[int]:
        """`Refer.ref_ids`; testA, testB, testC and testAB are empty where the data set does not have them."""
        if split in _SPLITS_OF_THE_ORIGINAL and split not in self.splits:
            return []
        return self.ref_ids(split or None, _given(image_ids), _given(cat_ids), _given(ref_ids))

    def getAnnIds(self, image_ids: _Ids = (), cat_ids: _Ids = (), ref_ids: _Ids = ()) -> list[int]:
        """`Refer.ann_ids`, except that `ref_ids` restricts only together with `image_ids`, as in the original.

        `Refer.ann_ids(ref_ids=…)` gives the objects of these references.
        """
        images = _given(image_ids)
        return self.ann_ids(images, _given(cat_ids), None if images is None else _given(ref_ids))

    def getImgIds(self, ref_ids: _Ids = ()) -> list[int]:
        """`Refer.image_ids`."""
        return self.image_ids(_given(ref_ids))

    def getCatIds(self) -> list[int]:
        """`Refer.category_ids`."""
        return self.category_ids()

    def loadRefs(self, ref_ids: _Ids = ()) -> list[dict[str, Any]]:
        """`Refer.refs`; nothing for an empty list."""
        return self.refs(ref_ids)

    def loadAnns(self, ann_ids: _Ids = ()) -> list[dict[str, Any]]:
        """`Refer.annotations`; nothing for an empty list."""
        return self.annotations(ann_ids)

    def loadImgs(self, image_ids: _Ids = ()) -> list[dict[str, Any]]:
        """`Refer.images`; nothing for an empty list."""
        return self.images(image_ids)

    def loadCats(self, cat_ids: _Ids = ()) -> list[str]:
        """Names of the categories."""
        return [category["name"] for category in self.categories(cat_ids)]

    def getRefBox(self, ref_id: int) -> list[float]:
        """x, y, width, height in pixels."""
        return list(self.box(ref_id))

    def getMask(self, ref: dict[str, Any]) -> dict[str, Any]:
        """{"mask": [height, width] uint8, "area": pixels inside} of a reference from `loadRefs`."""
        mask = self.mask(ref["ref_id"])
        return {"mask": mask, "area": int(np.count_nonzero(mask))}

    @cached_property
    def Refs(self) -> dict[int, dict[str, Any]]:
        """ref_id -> reference."""
        return {ref["ref_id"]: ref for ref in self.refs()}

    @cached_property
    def Anns(self) -> dict[int, dict[str, Any]]:
        """ann_id -> annotation."""
        return {annotation["id"]: annotation for annotation in self.annotations()}

    @cached_property
    def Imgs(self) -> dict[int, dict[str, Any]]:
        """image_id -> image."""
        return {image["id"]: image for image in self.images()}

    @cached_property
    def Cats(self) -> dict[int, str]:
        """category_id -> name."""
        return {category["id"]: category["name"] for category in self.categories()}

    @cached_property
    def Sents(self) -> dict[int, dict[str, Any]]:
        """sent_id -> sentence."""
        return {sentence["sent_id"]: sentence for ref in self.Refs.values() for sentence in ref["sentences"]}

    @cached_property
    def imgToRefs(self) -> dict[int, list[dict[str, Any]]]:
        """image_id -> its references."""
        return _grouped(self.Refs.values(), "image_id")

    @cached_property
    def imgToAnns(self) -> dict[int, list[dict[str, Any]]]:
        """image_id -> its annotations."""
        return _grouped(self.Anns.values(), "image_id")

    @cached_property
    def catToRefs(self) -> dict[int, list[dict[str, Any]]]:
        """category_id -> its references."""
        return _grouped(self.Refs.values(), "category_id")

    @cached_property
    def refToAnn(self) -> dict[int, dict[str, Any]]:
        """ref_id -> the annotation of its object."""
        return {ref_id: self.Anns[ref["ann_id"]] for ref_id, ref in self.Refs.items()}

    @cached_property
    def annToRef(self) -> dict[int, dict[str, Any]]:
        """ann_id -> the reference of this object."""
        return {ref["ann_id"]: ref for ref in self.Refs.values()}

    @cached_property
    def sentToRef(self) -> dict[int, dict[str, Any]]:
        """sent_id -> its reference."""
        return {sentence["sent_id"]: ref for ref in self.Refs.values() for sentence in ref["sentences"]}

    @cached_property
    def sentToTokens(self) -> dict[int, list[str]]:
        """sent_id -> its words."""
        return {sent_id: sentence["tokens"] for sent_id, sentence in self.Sents.items()}


def _given(ids: _Ids) -> _Ids | None:
    """Return None for an empty collection, which is no restriction in the original."""
    return int(ids) if isinstance(ids, (int, np.integer)) else list(ids) or None


def _grouped(rows: Iterable[dict[str, Any]], key: str) -> dict[int, list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups
