"""RegionFeatures of a scene as a detector would find them: noisy boxes of the objects, and a few of the ground."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pyutils.data.features.spec import RegionFeatures
from pyutils.data.features.window_descriptor import DIMENSION, describe_boxes
from pyutils.sample.scenes import COLOURS, CRATE, SHAPES, SIDE, Scene, Thing

# Class names in the order of `class_probs`; the background comes last, as in the published detectors' scores.
CLASSES = (*(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS), CRATE, "background")
DETECTOR = "drawn-world"
PROVENANCE = "pyutils.sample.world version 1: true boxes with noise, described by pyutils.sample.descriptor"

_JITTER = 0.06
_MISSED, _TWICE = 0.02, 0.25
_PROJECTION_SEED = 20190806


def detect(scene: Scene, pixels: np.ndarray, rng: np.random.Generator, dimension: int) -> RegionFeatures:
    """Detect an image: noisy boxes of the things (2 % missed, 25 % found twice) and 3-5 boxes of ground.

    Args:
        scene: what is drawn.
        pixels: `[128, 128, 3]` uint8, its image.
        rng: the noise.
        dimension: of the features, see `resize`.

    Returns:
        RegionFeatures in falling confidence, with class probabilities over `CLASSES`.
    """
    boxes, classes = [], []
    for thing in scene.things:
        found = 0 if rng.random() < _MISSED and len(scene.things) > 2 else 1 + int(rng.random() < _TWICE)
        for _ in range(found):
            boxes.append(_jittered(thing.box, rng))
            classes.append(class_of(thing))
    for _ in range(int(rng.integers(3, 6))):
        width, height = rng.uniform(16, 60, 2)
        x, y = rng.uniform(0, SIDE - width), rng.uniform(0, SIDE - height)
        boxes.append((x, y, x + width, y + height))
        classes.append(len(CLASSES) - 1)
    array = np.round(np.array(boxes, np.float64), 2).astype(np.float32)
    probs = np.stack([_noisy_probs(number, rng) for number in classes])
    order = np.argsort(-probs[:, :-1].max(axis=1), kind="stable")
    return _regions(pixels, array[order], probs[order], dimension)


def true_regions(scene: Scene, pixels: np.ndarray, dimension: int) -> RegionFeatures:
    """The things' own boxes, in drawing order, with certain classes."""
    boxes = np.array([thing.box for thing in scene.things], np.float32)
    probs = np.eye(len(CLASSES), dtype=np.float32)[[class_of(thing) for thing in scene.things]]
    return _regions(pixels, boxes, probs, dimension)


def class_of(thing: Thing) -> int:
    """The thing's index in `CLASSES`."""
    return CLASSES.index(CRATE if thing.shape == CRATE else f"{thing.colour} {thing.shape}")


def _regions(pixels: np.ndarray, boxes: np.ndarray, probs: np.ndarray, dimension: int) -> RegionFeatures:
    features = resize(describe_boxes(pixels, boxes), dimension)
    return RegionFeatures(features, boxes, pixels.shape[1], pixels.shape[0], probs.astype(np.float32))


def _jittered(box, rng: np.random.Generator) -> tuple[float, ...]:
    side = box[2] - box[0]
    return tuple(float(np.clip(edge + rng.normal(0, _JITTER) * side, 0, SIDE)) for edge in box)


def _noisy_probs(number: int, rng: np.random.Generator) -> np.ndarray:
    """A distribution over the classes with 55-95 % on the right one, the rest spread unevenly."""
    certain = rng.uniform(0.55, 0.95)
    probs = (1 - certain) * rng.dirichlet(np.full(len(CLASSES), 0.2))
    probs[number] += certain
    return probs


def resize(features: np.ndarray, dimension: int) -> np.ndarray:
    """Pad features `[n, 192]` with zeros, or project them orthonormally, to `[n, dimension]` float32.

    With fewer dimensions, inner products are kept as well as a projection can.
    """
    if dimension >= DIMENSION:
        return np.pad(features, ((0, 0), (0, dimension - DIMENSION)))
    return (features @ _projection(dimension)).astype(np.float32)


@lru_cache(maxsize=4)
def _projection(dimension: int) -> np.ndarray:
    """The first `dimension` columns of a fixed random rotation, `[192, dimension]` float32."""
    random = np.random.default_rng(_PROJECTION_SEED).normal(size=(DIMENSION, DIMENSION))
    return np.linalg.qr(random)[0][:, :dimension].astype(np.float32)
