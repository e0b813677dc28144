"""Texts about scenes: names, captions made of phrases, true and false statements."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pyutils.sample.scenes import CRATE, Concepts, Scene, Thing

NUMBERS = ("no", "one", "two", "three", "four", "five")


def plural(shape: str) -> str:
    """Several of a shape."""
    return shape + ("es" if shape.endswith(("s", "x")) else "s")


def with_article(words: str) -> str:
    """ "a" or "an" before the words."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def full_name(thing: Thing, size: bool = False) -> str:
    """ "red star" or "small red star"; the crate is a "closed box"."""
    if thing.shape == CRATE:
        return "closed box"
    return f"{thing.size + ' ' if size else ''}{thing.colour} {thing.shape}"


class Segment(NamedTuple):
    """A part of a caption; `things`: numbers of the things it names; `is_ground`: it names the ground."""

    text: str
    things: tuple[int, ...] = ()
    is_ground: bool = False


@dataclass(frozen=True)
class Caption:
    """A caption as segments in order."""

    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The sentence, lower case, closed by a full stop."""
        return " ".join(segment.text for segment in self.segments) + " ."


def captions(scene: Scene, rng: np.random.Generator) -> list[Caption]:
    """Describe a scene in five ways: relations, lists, counts; repeated only where 50 tries find no five."""
    writers = (_relation, _listing, _counting, _presentation, _relation)
    written: list[Caption] = []
    for turn in range(100):
        caption = writers[turn % len(writers)](scene, rng)
        if caption.text not in {known.text for known in written} or turn > 50:
            written.append(caption)
        if len(written) == len(writers):
            break
    return written


def _relation(scene: Scene, rng: np.random.Generator) -> Caption:
    first, second, words = _related_pair(scene, rng)
    names = [with_article(full_name(scene.things[i], size=bool(rng.integers(2)))) for i in (first, second)]
    return Caption((Segment(names[0], (first,)), Segment(words), Segment(names[1], (second,))))


def _presentation(scene: Scene, rng: np.random.Generator) -> Caption:
    opening = ("the picture shows", "here we see", "this is a drawing of")[rng.integers(3)]
    return Caption((Segment(opening), *_relation(scene, rng).segments))


def _related_pair(scene: Scene, rng: np.random.Generator) -> tuple[int, int, str]:
    """Two things and where the first is from the second; "next to" when nothing clearer holds."""
    first, second = (int(i) for i in rng.permutation(len(scene.things))[:2])
    one, other = scene.things[first], scene.things[second]
    holds = {
        "left of": one.is_left_of(other),
        "right of": other.is_left_of(one),
        "above": one.is_above(other),
        "below": other.is_above(one),
    }
    fitting = [words for words, true in holds.items() if true] or ["next to"]
    return first, second, fitting[rng.integers(len(fitting))]


def _listing(scene: Scene, rng: np.random.Generator) -> Caption:
    order = [int(i) for i in rng.permutation(len(scene.things))]
    with_size = bool(rng.integers(2))
    segments: list[Segment] = []
    for position, number in enumerate(order):
        if position:
            segments.append(Segment("and" if position == len(order) - 1 else ","))
        segments.append(Segment(with_article(full_name(scene.things[number], with_size)), (number,)))
    return Caption(tuple(segments))


def _counting(scene: Scene, rng: np.random.Generator) -> Caption:
    """The number of the most frequent shape, and one thing of another shape if there is any."""
    counts = Counter(thing.shape for thing in scene.things)
    shape, number = counts.most_common(1)[0]
    named = "closed box" if shape == CRATE else shape
    group = tuple(i for i, thing in enumerate(scene.things) if thing.shape == shape)
    noun = named if number == 1 else plural(named)
    segments = [Segment(f"{NUMBERS[number]} {noun}", group)]
    others = [i for i, thing in enumerate(scene.things) if thing.shape != shape]
    if others:
        other = others[rng.integers(len(others))]
        segments += [Segment("with"), Segment(with_article(full_name(scene.things[other])), (other,))]
    return Caption((*segments, Segment("on"), Segment("a plain ground", is_ground=True)))


class Statement(NamedTuple):
    """A yes-or-no sentence about a scene: something of `colour` and `shape` (either may be None), `least` times."""

    text: str
    colour: str | None
    shape: str | None
    least: int

    def holds(self, scene: Scene) -> bool:
        """True when enough of it is visible."""
        return len(scene.select(shape=self.shape, colour=self.colour)) >= self.least


def existence_statements(concepts: Concepts) -> list[Statement]:
    """Statements that something is there, of every colour, shape and both."""
    found = []
    for shape in concepts.shapes:
        found.append(Statement(f"there is {with_article(shape)}", None, shape, 1))
        found.append(Statement(f"there are at least two {plural(shape)}", None, shape, 2))
        for colour in concepts.colours:
            found.append(Statement(f"there is {with_article(f'{colour} {shape}')}", colour, shape, 1))
    for colour in concepts.colours:
        found.append(Statement(f"something {colour} can be seen", colour, None, 1))
    return found
