"""RefCOCO+: expressions that single out one of several things of the same shape, without its location."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.formats.atomic import atomic_write
from pyutils.sample.coco_files import annotation_id, category_id, write_instances
from pyutils.sample.pool import SampleImage
from pyutils.sample.scenes import Scene, Thing

# RefCOCO+ tests on people (testA) and on everything else (testB): here on round shapes and on the others.
ROUND_SHAPES = ("circle", "heart")
_SENTENCES_OF_REF = 3


def expressions(scene: Scene, thing: Thing) -> list[str]:
    """Ways to name `thing` so that nothing else in the scene fits, the shortest attributes first."""
    found = []
    for attributes in (("colour",), ("size",), ("size", "colour")):
        wanted = {name: getattr(thing, name) for name in attributes}
        if scene.only(shape=thing.shape, **wanted) is None:
            continue
        words = " ".join(wanted.values())
        predicate = " and ".join(wanted.values())
        found += [f"{words} {thing.shape}", f"the {words} {thing.shape}", f"{thing.shape} that is {predicate}"]
    return found


def _refs(images: Sequence[SampleImage], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Entries of `refs(unc).p` for every thing that shares its shape with another one of its image.

    The first 70 % of the images are `train`, then 10 % `val`, then the test images, `testA` or `testB` by shape.
    """
    refs: list[dict[str, Any]] = []
    sentence = 0
    for position, image in enumerate(images):
        part = position / len(images)
        for number, thing in enumerate(image.scene.things):
            ways = expressions(image.scene, thing)
            if len(image.scene.select(shape=thing.shape)) < 2 or not ways:
                continue
            test = "testA" if thing.shape in ROUND_SHAPES else "testB"
            split = "train" if part < 0.7 else "val" if part < 0.8 else test
            chosen = [ways[i] for i in sorted(rng.permutation(len(ways))[:_SENTENCES_OF_REF])]
            sentences = [
                {"tokens": words.split(), "raw": words, "sent_id": sentence + i, "sent": words}
                for i, words in enumerate(chosen)
            ]
            sentence += len(chosen)
            identity = annotation_id(image, number)
            refs.append(
                {
                    "sent_ids": [entry["sent_id"] for entry in sentences],
                    "file_name": f"{image.name}_{identity}.jpg",
                    "ann_id": identity,
                    "ref_id": len(refs),
                    "image_id": image.image_id,
                    "split": split,
                    "sentences": sentences,
                    "category_id": category_id(thing),
                }
            )
    return refs


def write_refs(folder: Path, images: Sequence[SampleImage], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Write `refs(unc).p` (pickle protocol 2) and the `instances.json` of the images it names; returns the refs."""
    refs = _refs(images, rng)
    named = {ref["image_id"] for ref in refs}
    with atomic_write(folder / "refs(unc).p", "wb") as stream:
        pickle.dump(refs, stream, protocol=2)
    write_instances(folder / "instances.json", [image for image in images if image.image_id in named])
    return refs
