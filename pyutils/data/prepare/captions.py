"""Retrieval lists of COCO and Flickr30k, and pre-training pairs of COCO, from Karpathy's splits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyutils.data.annotations import karpathy
from pyutils.data.prepare.lists import Lists
from pyutils.data.prepare.tree import Need, Tree
from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError

COCO = Need(
    ("coco/annotations/dataset_coco.json", "coco/dataset_coco.json", "karpathy/dataset_coco.json", "dataset_coco.json"),
    "Karpathy's splits of COCO",
)
FLICKR = Need(
    (
        "flickr30k/dataset_flickr30k.json",
        "flickr30k/annotations/dataset_flickr30k.json",
        "karpathy/dataset_flickr30k.json",
        "dataset_flickr30k.json",
    ),
    "Karpathy's splits of Flickr30k",
)
# The folder of Flickr30k's archive, in which ALBEF's lists look for the images.
FLICKR_FOLDER = "flickr30k-images"
_PUBLISHED = {
    "coco": {"train": 113287, "val": 5000, "test": 5000},
    "flickr30k": {"train": 29000, "val": 1014, "test": 1000},
}


def build_coco(tree: Tree, lists: Lists) -> None:
    """coco_train.json, coco_val.json, coco_test.json, and coco_pretrain.json of the training images."""
    path = tree.find(COCO)
    if path is None:
        return
    splits = _splits(path)
    images = tree.folder(("coco",))
    _write(splits, "coco", lists, images)
    lists.write("coco_pretrain.json", _pretrain(splits["train"]), images)


def build_flickr30k(tree: Tree, lists: Lists) -> None:
    """flickr30k_train.json, flickr30k_val.json, flickr30k_test.json."""
    path = tree.find(FLICKR)
    if path is not None:
        _write(_splits(path), "flickr30k", lists, tree.folder(("flickr30k",)), FLICKR_FOLDER)


def _splits(path: Path) -> dict[str, RecordTable[CaptionRecord]]:
    splits = karpathy.read_splits(path, paths=True)
    absent = [split for split in karpathy.SPLITS if split not in splits]
    if absent:
        raise InputError(f"{path}: no image of split {absent[0]!r}; is the file complete?")
    return splits


def _write(
    splits: dict[str, RecordTable[CaptionRecord]], name: str, lists: Lists, images: Path, folder: str = ""
) -> None:
    lists.write(f"{name}_train.json", _training(splits["train"], folder), images)
    for split in ("val", "test"):
        lists.write(f"{name}_{split}.json", _evaluation(splits[split], folder), images)
    for split, published in _PUBLISHED[name].items():
        if len(splits[split]) != published:
            lists.note(f"{name} {split}: {len(splits[split])} images; the published split has {published}")


def _training(records: RecordTable[CaptionRecord], folder: str) -> Iterator[dict[str, Any]]:
    """An entry a caption; images are numbered as the contrastive loss needs them."""
    for record in records:
        for caption in record.captions:
            yield {"image": _path(record, folder), "caption": caption, "image_id": record.image_id}


def _evaluation(records: RecordTable[CaptionRecord], folder: str) -> Iterator[dict[str, Any]]:
    for record in records:
        yield {"image": _path(record, folder), "caption": list(record.captions)}


def _pretrain(records: RecordTable[CaptionRecord]) -> Iterator[dict[str, Any]]:
    for record in records:
        yield {"image": record.image, "caption": list(record.captions)}


def _path(record: CaptionRecord, folder: str) -> str:
    return f"{folder}/{record.image}" if folder and "/" not in record.image else record.image
