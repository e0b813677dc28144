"""COCO instances and captions JSON, Karpathy's split JSON, Conceptual Captions' caption JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyutils.formats.atomic import write_json
from pyutils.sample.pool import SampleImage
from pyutils.sample.scenes import CRATE, SHAPES, SIDE, Thing

_CATEGORIES = [
    {"id": number, "name": shape, "supercategory": "shape" if shape != CRATE else "container"}
    for number, shape in enumerate((*SHAPES, CRATE), start=1)
]
_CATEGORY_IDS: dict[Any, Any] = {category["name"]: category["id"] for category in _CATEGORIES}
_KARPATHY_COCO = {"train2014": ("train",), "val2014": ("val", "test", "restval")}


def category_id(thing: Thing) -> int:
    """COCO category of a thing: its shape."""
    return _CATEGORY_IDS[thing.shape]


def annotation_id(image: SampleImage, number: int) -> int:
    """Annotation id of the image's thing `number`, unique in the source."""
    return image.image_id * 100 + number


def write_instances(path: Path, images: Sequence[SampleImage]) -> int:
    """Write boxes and polygons as COCO's `instances_*.json`; returns the number of annotations."""
    annotations = [
        _instance(image, number, thing) for image in images for number, thing in enumerate(image.scene.things)
    ]
    write_json(path, {**_head(images), "annotations": annotations, "categories": _CATEGORIES}, indent=None)
    return len(annotations)


def _instance(image: SampleImage, number: int, thing: Thing) -> dict[str, Any]:
    x1, y1, x2, y2 = thing.box
    return {
        "segmentation": [[coordinate for point in thing.outline for coordinate in point]],
        "area": round(_area(thing.outline), 2),
        "iscrowd": 0,
        "image_id": image.image_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "category_id": category_id(thing),
        "id": annotation_id(image, number),
    }


def _area(outline: Sequence[tuple[float, float]]) -> float:
    """Area of a polygon in square pixels (shoelace formula)."""
    following = [*outline[1:], outline[0]]
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(outline, following))) / 2


def write_captions(path: Path, images: Sequence[SampleImage]) -> int:
    """Write five captions per image as COCO's `captions_*.json`; returns the number of captions."""
    annotations = [
        {"image_id": image.image_id, "id": image.image_id * 10 + number, "caption": caption.text}
        for image in images
        for number, caption in enumerate(image.captions)
    ]
    write_json(path, {**_head(images), "annotations": annotations}, indent=None)
    return len(annotations)


def _head(images: Sequence[SampleImage]) -> dict[str, Any]:
    return {
        "info": {"description": "drawn world", "version": "1.0", "year": 2014},
        "licenses": [{"id": 1, "name": "none", "url": ""}],
        "images": [
            {
                "license": 1,
                "file_name": Path(image.path).name,
                "coco_url": "",
                "height": SIDE,
                "width": SIDE,
                "date_captured": "",
                "flickr_url": "",
                "id": image.image_id,
            }
            for image in images
        ],
    }


def write_karpathy(path: Path, dataset: str, images: Sequence[SampleImage]) -> int:
    """Write Karpathy's `dataset_coco.json` or `dataset_flickr30k.json`; returns the number of images.

    COCO: train2014 is `train`; val2014 is distributed over `val`, `test` and `restval`; test2015 is left out.
    """
    entries, sentence = [], 0
    for number, image in enumerate(p for p in images if p.split != "test2015"):
        entry: dict[str, Any] = {"sentids": [], "imgid": number, "sentences": [], "split": image.split}
        for caption in image.captions:
            words = [word for word in caption.text.split() if word.isalnum()]
            entry["sentences"].append({"tokens": words, "raw": caption.text, "imgid": number, "sentid": sentence})
            entry["sentids"].append(sentence)
            sentence += 1
        entry["filename"] = Path(image.path).name
        if dataset == "coco":
            choices = _KARPATHY_COCO[image.split]
            entry.update(filepath=image.split, split=choices[number % len(choices)], cocoid=image.image_id)
        entries.append(entry)
    write_json(path, {"images": entries, "dataset": dataset}, indent=None)
    return len(entries)


def write_caption_pool(path: Path, images: Sequence[SampleImage]) -> int:
    """Write ViLBERT's `caption_*.json` (image id to its one caption); returns the number of captions."""
    write_json(path, {image.name: image.captions[0].text.removesuffix(" .") for image in images}, indent=1)
    return len(images)
