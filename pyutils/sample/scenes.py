"""Drawn scenes: a few shapes in a few colours and two sizes on a textured ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np
from PIL import Image, ImageDraw

SIDE = 128
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
CRATE = "box"
COLOURS = {
    "red": (208, 36, 40),
    "green": (44, 150, 62),
    "blue": (36, 84, 214),
    "yellow": (240, 200, 24),
    "purple": (138, 52, 172),
    "orange": (240, 122, 20),
    "black": (28, 28, 32),
    "cyan": (32, 182, 200),
}
SIZES = ("small", "large")

_SIDES = {"small": (17, 23), "large": (34, 42)}
_CRATE_COLOUR, _PLANK_COLOUR = (148, 104, 66), (104, 70, 42)
_MARGIN = 2
_MOST_OVERLAP = 0.08
_OVERSAMPLING = 4
_SAME_SHAPE_SHARE = 0.75
# Centres nearer than this (pixels) are neither left of nor above each other.
_CLEAR_DISTANCE = 14.0


class Concepts(NamedTuple):
    """The shapes and the colours that a world draws; all by default."""

    shapes: tuple[str, ...] = SHAPES
    colours: tuple[str, ...] = tuple(COLOURS)


EVERYTHING = Concepts()


@dataclass(frozen=True)
class Thing:
    """One drawn object; `box` is x1, y1, x2, y2 in pixels, `outline` `[k, 2]` points in pixels."""

    shape: str
    colour: str
    size: str
    box: tuple[float, float, float, float]
    outline: tuple[tuple[float, float], ...]

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box in pixels."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    def is_left_of(self, other: Thing) -> bool:
        """True when it is clearly further left."""
        return other.centre[0] - self.centre[0] > _CLEAR_DISTANCE

    def is_above(self, other: Thing) -> bool:
        """True when it is clearly higher."""
        return other.centre[1] - self.centre[1] > _CLEAR_DISTANCE


@dataclass(frozen=True)
class Scene:
    """Objects in drawing order on a ground that `texture` (a seed) and `tint` (RGB) determine."""

    things: tuple[Thing, ...]
    tint: tuple[int, int, int]
    texture: int

    def select(self, shape: Optional[str] = None, colour: Optional[str] = None, size: Optional[str] = None):
        """The things with the named attributes, in drawing order."""
        wanted = {"shape": shape, "colour": colour, "size": size}
        return [t for t in self.things if all(v is None or getattr(t, k) == v for k, v in wanted.items())]

    def only(self, **attributes: str) -> Optional[Thing]:
        """The one thing with these attributes; None when there is none or there are several."""
        found = self.select(**attributes)
        return found[0] if len(found) == 1 else None


def compose(rng: np.random.Generator, crate: bool = False, concepts: Concepts = EVERYTHING) -> Scene:
    """Compose a random scene of 2-5 shapes (no two alike in shape, colour and size), and a closed box if `crate`.

    Three scenes in four have a shape twice, so that naming the shape alone does not single an object out.
    """
    kinds = _kinds(rng, concepts)
    things: list[Thing] = []
    if crate:
        kinds.append((CRATE, "brown", "large"))
    # Large things first: they are the hard ones to place, and small ones on top of them stay visible.
    for shape, colour, size in sorted(kinds, key=lambda kind: kind[2] != "large"):
        box = _free_box(rng, colour, size, things)
        if box is not None:
            things.append(Thing(shape, colour, size, box, _outline(shape, box)))
    red, green, blue = (int(channel) for channel in rng.integers(222, 248, 3))
    return Scene(tuple(things), (red, green, blue), int(rng.integers(1 << 31)))


def _kinds(rng: np.random.Generator, concepts: Concepts) -> list[tuple[str, str, str]]:
    """Two to five distinct (shape, colour, size)."""
    count = int(rng.integers(2, 6))
    shapes = [concepts.shapes[i] for i in rng.integers(len(concepts.shapes), size=count)]
    if rng.random() < _SAME_SHAPE_SHARE:
        shapes[1] = shapes[0]
    kinds: list[tuple[str, str, str]] = []
    for shape in shapes:
        while True:
            colour = concepts.colours[rng.integers(len(concepts.colours))]
            kind = (shape, colour, SIZES[rng.integers(len(SIZES))])
            if kind not in kinds:
                kinds.append(kind)
                break
    return kinds


def _free_box(
    rng: np.random.Generator, colour: str, size: str, things: list[Thing]
) -> Optional[tuple[float, float, float, float]]:
    """A box that overlaps others little, and those of its own colour not at all; None when 200 tries find none."""
    low, high = _SIDES[size]
    for _ in range(200):
        side = float(rng.integers(low, high + 1))
        x, y = (float(v) for v in rng.integers(_MARGIN, SIDE - _MARGIN - int(side), 2))
        box = (x, y, x + side, y + side)
        allowed = [0.0 if thing.colour == colour else _MOST_OVERLAP for thing in things]
        if all(_overlap(box, thing.box) <= most for thing, most in zip(things, allowed)):
            return box
    return None


def _overlap(first, second) -> float:
    """Common area as a share of the smaller box."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second))
    return max(width, 0.0) * max(height, 0.0) / smaller


def _outline(shape: str, box) -> tuple[tuple[float, float], ...]:
    """The shape's corner points, filling its box, in pixels rounded to hundredths."""
    points = np.array(_UNIT_OUTLINES[shape])
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = np.array(box[:2]) + (points - low) / (high - low) * (np.array(box[2:]) - np.array(box[:2]))
    return tuple((round(float(x), 2), round(float(y), 2)) for x, y in scaled)


def _unit_outlines() -> dict[str, list[tuple[float, float]]]:
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    spikes = [1.0, 0.42] * 5
    star_angles = np.linspace(0, 2 * np.pi, 10, endpoint=False) - np.pi / 2
    heart_x = 16 * np.sin(turn) ** 3
    heart_y = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
    square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    near, far = 1 / 3, 2 / 3
    cross = [(near, 0), (far, 0), (far, near), (1, near), (1, far), (far, far)]
    cross += [(far, 1), (near, 1), (near, far), (0, far), (0, near), (near, near)]
    return {
        "circle": list(zip(np.cos(turn), np.sin(turn))),
        "square": square,
        "triangle": [(0.5, 0.0), (1.0, 1.0), (0.0, 1.0)],
        "star": [(r * np.cos(a), r * np.sin(a)) for r, a in zip(spikes, star_angles)],
        "heart": list(zip(heart_x, -heart_y)),
        "cross": cross,
        CRATE: square,
    }


_UNIT_OUTLINES = _unit_outlines()


def draw(scene: Scene) -> np.ndarray:
    """Draw a scene, `[128, 128, 3]` uint8 RGB; the same scene gives the same pixels."""
    large = SIDE * _OVERSAMPLING
    colours = Image.new("RGB", (large, large))
    cover = Image.new("L", (large, large), 0)
    for thing in scene.things:
        points = [(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in thing.outline]
        fill = _CRATE_COLOUR if thing.shape == CRATE else COLOURS[thing.colour]
        pencil = ImageDraw.Draw(colours)
        pencil.polygon(points, fill=fill)
        ImageDraw.Draw(cover).polygon(points, fill=255)
        if thing.shape == CRATE:
            _planks(pencil, points)
    # Colours are averaged together with their cover, so that no black of the empty canvas gets into the edges.
    share = np.asarray(cover.reduce(_OVERSAMPLING), np.float32)[..., None] / 255.0
    painted = np.asarray(colours.reduce(_OVERSAMPLING), np.float32)
    pixels = painted + (1.0 - share) * _ground(scene)
    grain = np.random.default_rng([scene.texture, 1]).normal(0.0, 2.5, pixels.shape)
    return np.clip(np.rint(pixels + grain), 0, 255).astype(np.uint8)


def _planks(pencil: ImageDraw.ImageDraw, points) -> None:
    (left, top), (right, bottom) = points[0], points[2]
    pencil.rectangle([left, top, right, bottom], outline=_PLANK_COLOUR, width=3 * _OVERSAMPLING)
    pencil.line([left, top, right, bottom], fill=_PLANK_COLOUR, width=2 * _OVERSAMPLING)
    pencil.line([left, bottom, right, top], fill=_PLANK_COLOUR, width=2 * _OVERSAMPLING)


def _ground(scene: Scene) -> np.ndarray:
    """`[128, 128, 3]` float32: the tint, lighter and darker in soft patches."""
    coarse = np.random.default_rng([scene.texture, 0]).normal(0.0, 1.0, (9, 9)).astype(np.float32)
    patches = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.array(scene.tint, np.float32) + 6.0 * np.asarray(patches)[..., None]
