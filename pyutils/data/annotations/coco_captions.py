"""COCO captions: `captions_{train,val}2014.json`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

from pyutils.data.annotations.fields import Types, check_types
from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import entries_of, image_key, read_json


def read(path: Union[str, Path], paths: bool = False) -> RecordTable[CaptionRecord]:
    """Read one record per image with its captions in the order of the file; images in the order of their first caption.

    The image key is the stem of the image's `file_name`, or with `paths` the name itself. Images without a caption are
    left out. Raises InputError when
    the file is not of this kind or a caption's image is not in the file.
    """
    path = Path(path)
    content = read_json(path)
    names: dict[Any, str] = {}
    for number, entry in entries_of(content, "images", ("id", "file_name"), path):
        check_types(entry, {"id": (int, str), "file_name": str}, f"{path}: entry {number} of images")
        names[entry["id"]] = entry["file_name"]
    captions: dict[Any, list[tuple[int, str]]] = {}
    for number, entry in entries_of(content, "annotations", ("id", "image_id", "caption"), path):
        types: Types = {"id": (int, str), "image_id": (int, str), "caption": str}
        check_types(entry, types, f"{path}: entry {number} of annotations")
        if entry["image_id"] not in names:
            raise InputError(
                f"{path}: entry {number} of annotations: caption {entry['id']} is about image {entry['image_id']}, "
                'which is not in "images"'
            )
        captions.setdefault(entry["image_id"], []).append((entry["id"], entry["caption"]))
    return RecordTable(CaptionRecord, _records(names if paths else _keys(names), captions))


def _keys(names: dict[Any, str]) -> dict[Any, str]:
    return {image: image_key(name) for image, name in names.items()}


def _records(names: dict[Any, str], captions: dict[Any, list[tuple[int, str]]]) -> Iterator[CaptionRecord]:
    for image, entries in captions.items():
        identifiers, texts = zip(*entries)
        yield CaptionRecord(names[image], texts, image, identifiers)
