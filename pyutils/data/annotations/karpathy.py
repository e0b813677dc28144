"""Karpathy's splits of COCO and Flickr30k captions (CVPR 2015): `dataset_coco.json`, `dataset_flickr30k.json`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

from pyutils.data.annotations.fields import check_known, get_split
from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields, entries_of, image_key, read_json

SPLITS = ("train", "val", "test")
# COCO images in no test or validation split, used for training as well (113,287 images instead of 82,783).
REST = "restval"


def read(path: Union[str, Path], split: str) -> RecordTable[CaptionRecord]:
    """Read the images of a split ("train", "val", "test") with their captions, in the order of the file.

    `image` is the image key. `image_id` is COCO's, else the number within the file. Raises InputError for an unknown
    split, and naming file and entry for damaged content.
    """
    return get_split(read_splits(path), split, str(path))


def read_splits(path: Union[str, Path], paths: bool = False) -> dict[str, RecordTable[CaptionRecord]]:
    """`read` every split at once, parsing the file once.

    With `paths`, `image` is the path in the file ("val2014/COCO_val2014_000000391895.jpg") instead of the image key.
    """
    path = Path(path)
    found: dict[str, list[CaptionRecord]] = {}
    for split, record in _records(read_json(path), path, paths):
        found.setdefault("train" if split == REST else split, []).append(record)
    return {split: RecordTable(CaptionRecord, records) for split, records in found.items()}


def _records(content: Any, path: Path, paths: bool) -> Iterator[tuple[str, CaptionRecord]]:
    for number, entry in entries_of(content, "images", ("filename", "split", "sentences"), path):
        where = f"{path}: entry {number} of images"
        check_known(entry["split"], (*SPLITS, REST), "split", where)
        captions = entry["sentences"]
        if not isinstance(captions, list) or not captions:
            raise InputError(f"{where}: expected a list of sentences for {entry['filename']}, found {captions!r}")
        for caption in captions:
            check_fields(caption, ("raw",), where)
        folder = entry.get("filepath", "")
        name = f"{folder}/{entry['filename']}" if folder else entry["filename"]
        yield (
            entry["split"],
            CaptionRecord(
                image=name if paths else image_key(name),
                captions=tuple(caption["raw"] for caption in captions),
                image_id=entry.get("cocoid", entry.get("imgid", number)),
                caption_ids=tuple(caption["sentid"] for caption in captions if "sentid" in caption),
            ),
        )
