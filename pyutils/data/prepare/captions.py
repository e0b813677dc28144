"""Retrieval and pre-training lists of COCO, Flickr30k and Flickr8k: Karpathy's splits or the sets' own files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyutils.data.annotations import coco_captions, flickr8k, karpathy
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
FLICKR8K = Need(
    ("flickr8k/dataset_flickr8k.json", "karpathy/dataset_flickr8k.json", "dataset_flickr8k.json"),
    "Karpathy's splits of Flickr8k",
    optional=True,
)
_TOKENS = Need(
    ("flickr8k/Flickr8k.token.txt", "flickr8k/Flickr8k_text/Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt"),
    "captions of Flickr8k, where Karpathy's file is missing",
    optional=True,
)


def _image_list(split: str) -> Need:
    name = f"Flickr_8k.{split}Images.txt"
    paths = (f"flickr8k/{name}", f"flickr8k/Flickr8k_text/{name}", f"Flickr8k_text/{name}")
    return Need(paths, f"image names of {split}, beside the captions", optional=True)


_IMAGE_LISTS = {"train": _image_list("train"), "val": _image_list("dev"), "test": _image_list("test")}
FLICKR8K_NEEDS = (FLICKR8K, _TOKENS, *_IMAGE_LISTS.values())
COCO_YEARS = ("2014", "2017")
# The folder of Flickr30k's archive, in which ALBEF's lists look for the images.
FLICKR_FOLDER = "flickr30k-images"
_PUBLISHED = {
    "coco": {"train": 113287, "val": 5000, "test": 5000},
    "flickr30k": {"train": 29000, "val": 1014, "test": 1000},
    "flickr8k": {"train": 6000, "val": 1000, "test": 1000},
}


def coco_needs(year: str) -> tuple[Need, ...]:
    """Return COCO's own caption files of a year."""
    files = ((split, f"captions_{split}{year}.json") for split in ("train", "val"))
    return tuple(
        Need((f"coco/annotations/{name}", f"coco/{name}", f"annotations/{name}"), f"captions of {split}{year}")
        for split, name in files
    )


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


def build_flickr8k(tree: Tree, lists: Lists) -> None:
    """Write flickr8k_{train,val,test,pretrain}.json from Karpathy's file, else from Flickr8k's own."""
    path, images = tree.find(FLICKR8K), tree.folder("flickr8k", "Flickr8k")
    if path is not None:
        found = karpathy.read_splits(path, paths=True)
        _write_splits({split: found[split] for split in karpathy.SPLITS if split in found}, "flickr8k", lists, images)
        return
    captions = tree.find(_TOKENS)
    names = {split: tree.find(need) for split, need in _IMAGE_LISTS.items()}
    given = {split: path for split, path in names.items() if path is not None}
    if captions is None or not given:
        return
    splits, outside = flickr8k.read(captions, given)
    _write_splits(splits, "flickr8k", lists, images)
    if outside:
        lists.notes.append(f"flickr8k: {outside} images of {captions.name} are in no split and left out")


def build_coco_captions(tree: Tree, lists: Lists, year: str) -> None:
    """Write coco{year}_{train,val,pretrain}.json from COCO's own captions_{train,val}{year}.json."""
    splits = {}
    for split, need in zip(("train", "val"), coco_needs(year)):
        path = tree.find(need)
        if path is not None:
            splits[split] = coco_captions.read(path, paths=True)
    for split, records in splits.items():
        _write_splits({split: records}, f"coco{year}", lists, tree.folder("coco"), f"{split}{year}")


def _write(path: Path, name: str, lists: Lists, images: Path, folder: str = "") -> RecordTable[CaptionRecord]:
    """Write the lists of all splits and return the training split. Raises InputError if one is not in the file."""
    found = karpathy.read_splits(path, paths=True)
    splits = {split: get_split(found, split, str(path)) for split in karpathy.SPLITS}
    _write_lists(splits, name, lists, images, folder)
    return splits["train"]


def _write_splits(
    splits: Mapping[str, RecordTable[CaptionRecord]], name: str, lists: Lists, images: Path, folder: str = ""
) -> None:
    """Write the retrieval lists of `splits`, and of the training split the list for pre-training."""
    _write_lists(splits, name, lists, images, folder)
    if "train" in splits:
        lists.write(f"{name}_pretrain.json", _by_image(splits["train"], folder), images)


def _write_lists(
    splits: Mapping[str, RecordTable[CaptionRecord]], name: str, lists: Lists, images: Path, folder: str
) -> None:
    for split, records in splits.items():
        entries = _by_caption(records, folder) if split == "train" else _by_image(records, folder)
        lists.write(f"{name}_{split}.json", entries, images)
        published = _PUBLISHED.get(name, {}).get(split, len(records))
        if len(records) != published:
            lists.notes.append(f"{name} {split}: {len(records)} images; the published split has {published}")
    missing = [split for split in _PUBLISHED.get(name, ()) if split not in splits]
    if missing:
        lists.notes.append(f"{name}: no list of {', '.join(missing)}: the official files given here have no such split")


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
