"""NLVR2: sentences about two images, true of exactly two of the four pairs that share them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyutils.formats.atomic import atomic_write
from pyutils.sample.language import NUMBERS, plural, with_article
from pyutils.sample.pool import SampleImage
from pyutils.sample.scenes import COLOURS, SHAPES, Scene

# Kinds of sentences; a set has one of each.
MOST_SENTENCES = 6


class PairStatement(NamedTuple):
    """A sentence, its kind, and whether it is true of a left and a right scene."""

    sentence: str
    kind: str
    holds: Callable[[Scene, Scene], bool]


def pair_statements() -> list[PairStatement]:
    """Every sentence that the writer may use."""
    found = []
    for shape in SHAPES:
        several = plural(shape)
        found += [
            PairStatement(
                f"Both images contain {with_article(shape)}.",
                "both",
                lambda left, right, s=shape: bool(left.select(s) and right.select(s)),
            ),
            PairStatement(
                f"There are more {several} in the left image than in the right image.",
                "more",
                lambda left, right, s=shape: len(left.select(s)) > len(right.select(s)),
            ),
            PairStatement(
                f"At least one image contains two or more {several}.",
                "two",
                lambda left, right, s=shape: max(len(left.select(s)), len(right.select(s))) >= 2,
            ),
        ]
        for number in range(1, 5):
            counted = f"is exactly one {shape}" if number == 1 else f"are exactly {NUMBERS[number]} {several}"
            found.append(
                PairStatement(
                    f"There {counted} in total.",
                    "total",
                    lambda left, right, s=shape, n=number: len(left.select(s)) + len(right.select(s)) == n,
                )
            )
    for colour in COLOURS:
        found += [
            PairStatement(
                f"Something {colour} is in both images.",
                "both",
                lambda left, right, c=colour: bool(left.select(colour=c) and right.select(colour=c)),
            ),
            PairStatement(
                f"One image shows something {colour} and the other does not.",
                "one",
                lambda left, right, c=colour: bool(left.select(colour=c)) != bool(right.select(colour=c)),
            ),
            PairStatement(
                f"The left image contains something {colour}.",
                "side",
                lambda left, right, c=colour: bool(left.select(colour=c)),
            ),
            PairStatement(
                f"The right image contains something {colour}.",
                "side",
                lambda left, right, c=colour: bool(right.select(colour=c)),
            ),
        ]
    return found


def write_pairs(
    path: Path, split: str, images: Sequence[SampleImage], rng: np.random.Generator, most: int
) -> list[str]:
    """Write one split as JSON lines (identifier `split-set-pair-sentence`); returns the sentences.

    Eight consecutive images are the four pairs of a set. A sentence is used when it is true of two of them, so half of
    the labels of every sentence are True. A set has at most `most` sentences, each of another kind.
    """
    statements, lines, sentences = pair_statements(), [], []
    for start in range(0, len(images), 8):
        scenes = [image.scene for image in images[start : start + 8]]
        set_number = images[start].name.split("-")[1]
        fitting: dict[str, tuple[str, list[bool]]] = {}
        for number in rng.permutation(len(statements)):
            sentence, kind, holds = statements[number]
            labels = [holds(scenes[2 * i], scenes[2 * i + 1]) for i in range(4)]
            if sum(labels) == 2:
                fitting.setdefault(kind, (sentence, labels))
        for index, (sentence, labels) in enumerate(list(fitting.values())[:most]):
            sentences.append(sentence)
            for pair, label in enumerate(labels):
                lines.append(_line(f"{split}-{set_number}-{pair}-{index}", sentence, label))
    with atomic_write(path) as stream:
        stream.writelines(line + "\n" for line in lines)
    return sentences


def _line(identifier: str, sentence: str, label: bool) -> str:
    line = {
        "validation": {"1": str(label)},
        "sentence": sentence,
        "left_url": "",
        "writer": "1",
        "label": str(label),
        "right_url": "",
        "synset": "shape",
        "query": "drawn shapes",
        "identifier": identifier,
        "extra_validations": {},
    }
    return json.dumps(line)
