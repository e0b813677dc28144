"""VCR: questions with four answers and four rationales about numbered objects, and a metadata file per image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Union

import numpy as np

from pyutils.formats.atomic import atomic_write, write_json
from pyutils.sample.pool import SampleImage
from pyutils.sample.scenes import SIDE, SIZES, Concepts, Thing

Words = list[Union[str, list[int]]]
_QUESTIONS_PER_IMAGE = 3


class Choices(NamedTuple):
    """A question, its four answers and four rationales, the right one first in each."""

    question: Words
    answers: list[Words]
    rationales: list[Words]


def colour_question(
    things: Sequence[Thing], first: int, second: int, rng: np.random.Generator, concepts: Concepts
) -> Choices:
    """Ask for the colour of a thing; the reason is its size and on which side of the other it is."""
    thing, other = things[first], things[second]
    names = [thing.colour, *(name for name in rng.permutation(list(concepts.colours)) if name != thing.colour)][:4]
    sides = ("left", "right") if thing.is_left_of(other) else ("right", "left")
    sizes = sorted(SIZES, key=lambda size: size != thing.size)
    answers: list[Any] = [[[first], "is", str(name), "."] for name in names]
    reasons: list[Any] = [[[first], "is", size, "and", side, "of", [second], "."] for size in sizes for side in sides]
    return Choices(["What", "color", "is", [first], "?"], answers, reasons)


def location_question(
    things: Sequence[Thing], first: int, second: int, rng: np.random.Generator, concepts: Concepts
) -> Choices:
    """Ask where one is from the other; the reason is the colours of both, each right or wrong."""
    thing, other = things[first], things[second]
    sides = ("left", "right") if thing.is_left_of(other) else ("right", "left")
    heights = ("above", "below") if thing.is_above(other) else ("below", "above")
    answers: list[Any] = [
        [[first], "is", side, "of", "and", height, [second], "."] for side in sides for height in heights
    ]
    colours = [(t.colour, str(rng.choice([c for c in concepts.colours if c != t.colour]))) for t in (thing, other)]
    reasons: list[Any] = [[[first], "is", a, "and", [second], "is", b, "."] for a in colours[0] for b in colours[1]]
    return Choices(["Where", "is", [first], "seen", "from", [second], "?"], answers, reasons)


def write_questions(
    path: Path, split: str, images: Sequence[SampleImage], rng: np.random.Generator, concepts: Concepts
) -> list[list[str]]:
    """Write one split as VCR's JSON lines; returns the words that each question and its choices use.

    The four choices differ in two attributes that are each as often right as wrong, in random order, so that neither
    the texts nor their order reveal the right one. Labels of the test split are left out.
    """
    words: list[list[str]] = []
    with atomic_write(path) as stream:
        for image in images:
            for choices in _choices(image, rng, concepts):
                stream.write(json.dumps(_line(image, choices, len(words), split, rng)) + "\n")
                texts = (choices.question, *choices.answers, *choices.rationales)
                words.append([word for text in texts for word in text if isinstance(word, str)])
    return words


def _choices(image: SampleImage, rng: np.random.Generator, concepts: Concepts) -> list[Choices]:
    """Questions about ordered pairs of things that are clearly apart in both directions."""
    things = image.scene.things
    pairs = [
        (i, j)
        for i, one in enumerate(things)
        for j, two in enumerate(things)
        if (one.is_left_of(two) or two.is_left_of(one)) and (one.is_above(two) or two.is_above(one))
    ]
    asked = []
    for turn, number in enumerate(rng.permutation(len(pairs))[:_QUESTIONS_PER_IMAGE]):
        ask = (colour_question, location_question)[(image.image_id + turn) % 2]
        first, second = pairs[number]
        asked.append(ask(things, first, second, rng, concepts))
    return asked


def _line(image: SampleImage, choices: Choices, number: int, split: str, rng: np.random.Generator) -> dict[str, Any]:
    orders = [[int(i) for i in rng.permutation(4)] for _ in range(2)]
    line: dict[str, Any] = {
        "movie": image.path.split("/")[0],
        "objects": [thing.shape for thing in image.scene.things],
        "interesting_scores": [0],
        "answer_likelihood": "likely",
        "img_fn": image.path,
        "metadata_fn": image.path.replace(".jpg", ".json"),
        "answer_orig": _plain(choices.answers[0]),
        "question_orig": _plain(choices.question),
        "rationale_orig": _plain(choices.rationales[0]),
        "question": choices.question,
        "answer_match_iter": [0, 0, 0, 0],
        "answer_sources": [0, 0, 0, 0],
        "answer_choices": [choices.answers[i] for i in orders[0]],
        "answer_label": orders[0].index(0),
        "rationale_choices": [choices.rationales[i] for i in orders[1]],
        "rationale_sources": [0, 0, 0, 0],
        "rationale_match_iter": [0, 0, 0, 0],
        "rationale_label": orders[1].index(0),
        "img_id": f"{split}-{image.image_id}",
        "question_number": number,
        "annot_id": f"{split}-{number}",
        "match_fold": f"{split}-0",
        "match_index": number,
    }
    if split == "test":
        for hidden in ("answer_label", "rationale_label", "answer_orig", "rationale_orig"):
            del line[hidden]
    return line


def _plain(text: Words) -> str:
    return " ".join(word if isinstance(word, str) else ", ".join(str(i + 1) for i in word) for word in text)


def write_metadata(folder: Path, images: Sequence[SampleImage]) -> None:
    """Write next to every image its boxes (x1, y1, x2, y2, score), polygons, names and size."""
    for image in images:
        things = image.scene.things
        metadata = {
            "boxes": [[*thing.box, 1.0] for thing in things],
            "segms": [[[list(point) for point in thing.outline]] for thing in things],
            "names": [thing.shape for thing in things],
            "width": SIDE,
            "height": SIDE,
        }
        write_json((folder / image.path).with_suffix(".json"), metadata, indent=None)
