"""Drawn scenes as a detection data set: COCO's JSON with the shape as class and the colour as attribute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.sample.scenes import COLOURS, CRATE, SHAPES, SIDE, Scene, compose, draw
from pyutils.sample.stamp import make_once

VERSION = 1
SPLITS = {"train": 0.85, "val": 0.15}
_CLASSES, _ATTRIBUTES = (*SHAPES, CRATE), tuple(COLOURS)


def make_boxes(output: Path, scenes: int = 2000, seed: int = 0, overwrite: bool = False) -> bool:
    """Write `SPLIT/NUMBER.png`, `SPLIT.json`, `objects_vocab.txt` and `attributes_vocab.txt` below `output`, unless
    they are complete there.

    Returns:
        True when files were written, False when the folder was complete.

    Raises:
        InputError: fewer than 10 scenes, or a folder with other files.
    """
    if scenes < 10:
        raise InputError(f"--scenes: expected at least 10, found {scenes}")

    def make(folder: Path) -> dict[str, Any]:
        rng = np.random.default_rng([seed, 14])
        for name, names in (("objects_vocab.txt", _CLASSES), ("attributes_vocab.txt", _ATTRIBUTES)):
            (folder / name).write_text("".join(f"{entry}\n" for entry in names), encoding="utf-8")
        return {split: _write_split(folder, split, round(share * scenes), rng) for split, share in SPLITS.items()}

    return make_once(
        Path(output), {"sample": "boxes", "version": VERSION, "scenes": scenes, "seed": seed}, make, overwrite
    )


def _write_split(folder: Path, split: str, count: int, rng: np.random.Generator) -> int:
    (folder / split).mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        scene = compose(rng, number % 3 == 0)
        name = f"{number:06d}.png"
        Image.fromarray(draw(scene)).save(folder / split / name)
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        annotations += [{"id": len(annotations) + place, **note} for place, note in enumerate(_notes(scene, number))]
    categories = [{"id": place, "name": name} for place, name in enumerate(_CLASSES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(folder / f"{split}.json", content, indent=None)
    return len(annotations)


def _notes(scene: Scene, image: int) -> list[dict[str, Any]]:
    notes = []
    for thing in scene.things:
        x1, y1, x2, y2 = thing.box
        colour = [_ATTRIBUTES.index(thing.colour)] if thing.colour in _ATTRIBUTES else []
        box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "attribute_ids": colour}
        notes.append({"image_id": image, "category_id": _CLASSES.index(thing.shape) + 1, **box})
    return notes
