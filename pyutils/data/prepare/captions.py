"""Retrieval lists of COCO and Flickr30k, and pre-training pairs of COCO, from Karpathy's splits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyutils.data.annotations import karpathy
from pyutils.data.annotations.fields import get_split
from pyutils.data.prepare.lists import Lists, Need, Tree
from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable

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
    """Write coco_{train,val,test}.json, and coco_pretrain.json of the training images."""
    path = tree.find(COCO)
    if path is not None:
        images = tree.folder("coco")
        train = _write(path, "coco", lists, images)
        lists.write("coco_pretrain.json", _by_image(train, ""), images)


def build_flickr30k(tree: Tree, lists: Lists) -> None:
    """Write flickr30k_{train,val,test}.json."""
    path = tree.find(FLICKR)
    if path is not None:
        _write(path, "flickr30k", lists, tree.folder("flickr30k"), FLICKR_FOLDER)


def _write(path: Path, name: str, lists: Lists, images: Path, folder: str = "") -> RecordTable[CaptionRecord]:
    """Write the lists of all splits and return the training split. Raises InputError if one is not in the file."""
    found = karpathy.read_splits(path, paths=True)
    splits = {split: get_split(found, split, str(path)) for split in karpathy.SPLITS}
    for split, records in splits.items():
        entries = _by_caption(records, folder) if split == "train" else _by_image(records, folder)
        lists.write(f"{name}_{split}.json", entries, images)
        published = _PUBLISHED[name][split]
        if len(records) != published:
            lists.notes.append(f"{name} {split}: {len(records)} images; the published split has {published}")
    return splits["train"]


def _by_caption(records: RecordTable[CaptionRecord], folder: str) -> Iterator[dict[str, Any]]:
    """Yield one entry per caption; image ids tell the ITC loss which captions share an image."""
    for record in records:
        for caption in record.captions:
            yield {"image": _path(record, folder), "caption": caption, "image_id": record.image_id}


def _by_image(records: RecordTable[CaptionRecord], folder: str) -> Iterator[dict[str, Any]]:
    """Yield one entry per image with all its captions."""
    for record in records:
        yield {"image": _path(record, folder), "caption": list(record.captions)}


def _path(record: CaptionRecord, folder: str) -> str:
    return f"{folder}/{record.image}" if folder and "/" not in record.image else record.image
