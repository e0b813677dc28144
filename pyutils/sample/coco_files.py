"""COCO instances and captions JSON, Karpathy's split JSON, Conceptual Captions' caption JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyutils.formats.atomic import write_json
from pyutils.sample.pool import Picture
from pyutils.sample.scenes import CRATE, SHAPES, SIDE, Thing

CATEGORIES = [
    {"id": number, "name": shape, "supercategory": "shape" if shape != CRATE else "container"}
    for number, shape in enumerate((*SHAPES, CRATE), start=1)
]
_CATEGORY_IDS: dict[Any, Any] = {category["name"]: category["id"] for category in CATEGORIES}
_KARPATHY_COCO = {"train2014": ("train",), "val2014": ("val", "test", "restval")}


def category_id(thing: Thing) -> int:
    """COCO category of a thing: its shape."""
    return _CATEGORY_IDS[thing.shape]


def annotation_id(picture: Picture, number: int) -> int:
    """Annotation id of the picture's thing `number`, unique in the source."""
    return picture.image_id * 100 + number


def write_instances(path: Path, pictures: Sequence[Picture]) -> int:
    """Write boxes and polygons as COCO's `instances_*.json`; returns the number of annotations."""
    annotations = [
        _instance(picture, number, thing) for picture in pictures for number, thing in enumerate(picture.scene.things)
    ]
    write_json(path, {**_head(pictures), "annotations": annotations, "categories": CATEGORIES}, indent=None)
    return len(annotations)


def _instance(picture: Picture, number: int, thing: Thing) -> dict[str, Any]:
    x1, y1, x2, y2 = thing.box
    return {
        "segmentation": [[coordinate for point in thing.outline for coordinate in point]],
        "area": round(_area(thing.outline), 2),
        "iscrowd": 0,
        "image_id": picture.image_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "category_id": category_id(thing),
        "id": annotation_id(picture, number),
    }


def _area(outline: Sequence[tuple[float, float]]) -> float:
    """Area of a polygon in square pixels (shoelace formula)."""
    following = [*outline[1:], outline[0]]
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(outline, following))) / 2


def write_captions(path: Path, pictures: Sequence[Picture]) -> int:
    """Write five captions a picture as COCO's `captions_*.json`; returns the number of captions."""
    annotations = [
        {"image_id": picture.image_id, "id": picture.image_id * 10 + number, "caption": caption.text}
        for picture in pictures
        for number, caption in enumerate(picture.captions)
    ]
    write_json(path, {**_head(pictures), "annotations": annotations}, indent=None)
    return len(annotations)


def _head(pictures: Sequence[Picture]) -> dict[str, Any]:
    return {
        "info": {"description": "drawn world", "version": "1.0", "year": 2014},
        "licenses": [{"id": 1, "name": "none", "url": ""}],
        "images": [
            {
                "license": 1,
                "file_name": Path(picture.path).name,
                "coco_url": "",
                "height": SIDE,
                "width": SIDE,
                "date_captured": "",
                "flickr_url": "",
                "id": picture.image_id,
            }
            for picture in pictures
        ],
    }


def write_karpathy(path: Path, dataset: str, pictures: Sequence[Picture]) -> int:
    """Write Karpathy's `dataset_coco.json` or `dataset_flickr30k.json`; returns the number of pictures.

    COCO: train2014 is `train`; val2014 is dealt out to `val`, `test` and `restval` in turn; test2015 is left out.
    """
    images, sentence = [], 0
    for number, picture in enumerate(p for p in pictures if p.split != "test2015"):
        entry: dict[str, Any] = {"sentids": [], "imgid": number, "sentences": [], "split": picture.split}
        for caption in picture.captions:
            words = [word for word in caption.text.split() if word.isalnum()]
            entry["sentences"].append({"tokens": words, "raw": caption.text, "imgid": number, "sentid": sentence})
            entry["sentids"].append(sentence)
            sentence += 1
        entry["filename"] = Path(picture.path).name
        if dataset == "coco":
            choices = _KARPATHY_COCO[picture.split]
            entry.update(filepath=picture.split, split=choices[number % len(choices)], cocoid=picture.image_id)
        images.append(entry)
    write_json(path, {"images": images, "dataset": dataset}, indent=None)
    return len(images)


def write_caption_pool(path: Path, pictures: Sequence[Picture]) -> int:
    """Write ViLBERT's `caption_*.json` (image id to its one caption); returns the number of captions."""
    write_json(path, {picture.name: picture.captions[0].text.removesuffix(" .") for picture in pictures}, indent=1)
    return len(pictures)
