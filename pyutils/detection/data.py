"""Images with annotated boxes, classes and attributes: COCO's JSON with `attribute_ids`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyutils.config import setting
from pyutils.data.records import BoxXYXY
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields, read_json


@dataclass(frozen=True)
class BoxedImage:
    """An image file and its objects: `boxes` in pixels, `classes` and `attributes` as numbers, -1 where unknown."""

    path: str
    boxes: tuple[BoxXYXY, ...]
    classes: tuple[int, ...]
    attributes: tuple[int, ...]


@dataclass(frozen=True)
class BoxSplit:
    """One split."""

    images: str = setting("", "Folder of the images, relative to boxes.root.")
    annotations: str = setting("", "COCO JSON of the boxes, relative to boxes.root.")


@dataclass(frozen=True)
class BoxConfig:
    """The `boxes:` section of a configuration."""

    root: str = setting("", "Folder of the data set.")
    splits: dict[str, BoxSplit] = setting({}, "Split → images and annotations.")
    classes: str = setting("objects_vocab.txt", "Names of the classes, one per line, relative to root.")
    attributes: str = setting("attributes_vocab.txt", "Names of the attributes, one per line, relative to root.")


def read_split(config: BoxConfig, split: str, classes: int, attributes: int) -> RecordTable[BoxedImage]:
    """Read the images of `split` that have an object.

    A category's class is its place in the file's `categories`; an object's attribute is the first of its
    `attribute_ids`, numbered from 0. Crowds are left out.

    Raises:
        InputError: no such split or file, an object outside the classes, attributes or its image; names the entry.
    """
    if split not in config.splits:
        raise InputError(f"boxes.splits has no split {split!r}; it has {', '.join(config.splits) or 'none'}")
    root, entry = Path(config.root).expanduser(), config.splits[split]
    file = root / entry.annotations
    content = read_json(file)
    check_fields(content, ("images", "annotations", "categories"), str(file))
    places = {category["id"]: place for place, category in enumerate(content["categories"])}
    if len(places) != classes:
        raise InputError(f"{file}: {len(places)} categories, model.classes is {classes}; set it to their number")
    objects: dict[int, list[tuple[BoxXYXY, int, int]]] = {}
    for note in content["annotations"]:
        if not note.get("iscrowd"):
            objects.setdefault(note["image_id"], []).append(_object(note, places, attributes, file))
    records = []
    for image in content["images"]:
        found = objects.get(image["id"], [])
        if found:
            boxes, kinds, attribute = zip(*found)
            records.append(BoxedImage(str(root / entry.images / image["file_name"]), boxes, kinds, attribute))
    if not records:
        raise InputError(f"{file}: no image has an object")
    return RecordTable(BoxedImage, records)


def _object(
    note: Mapping[str, Any], places: Mapping[int, int], attributes: int, file: Path
) -> tuple[BoxXYXY, int, int]:
    """Box, class and attribute of an annotation."""
    try:
        x, y, width, height = (float(value) for value in note["bbox"])
        kind = places[note["category_id"]]
        attribute = int((note.get("attribute_ids") or [-1])[0])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}, annotation {note.get('id')}: {error!r} is missing or malformed") from error
    if not (width > 0 and height > 0 and x + width > 0 and y + height > 0):
        raise InputError(f"{file}, annotation {note.get('id')}: bbox {note['bbox']} has no area; remove it")
    if not -1 <= attribute < attributes:
        raise InputError(f"{file}, annotation {note.get('id')}: attribute {attribute}, expected 0-{attributes - 1}")
    return (x, y, x + width, y + height), kind, attribute
