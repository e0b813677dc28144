"""NLVR2: sentences about two pictures, true of exactly two of the four pairs that share them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyutils.formats.atomic import atomic_write
from pyutils.sample.language import NUMBERS, plural, with_article
from pyutils.sample.pool import Picture
from pyutils.sample.scenes import COLOURS, SHAPES, Scene

# Kinds of sentences, of which a set has one each.
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
            noun = shape if number == 1 else several
            verb = "is" if number == 1 else "are"
            found.append(
                PairStatement(
                    f"There {verb} exactly {NUMBERS[number]} {noun} in total.",
                    "total",
                    lambda left, right, s=shape, n=number: len(left.select(s)) + len(right.select(s)) == n,
                )
            )
    return found + _coloured()


def _coloured() -> list[PairStatement]:
    found = []
    for colour in COLOURS:
        found.append(
            PairStatement(
                f"Something {colour} is in both images.",
                "both",
                lambda left, right, c=colour: bool(left.select(colour=c) and right.select(colour=c)),
            )
        )
        found.append(
            PairStatement(
                f"One image shows something {colour} and the other does not.",
                "one",
                lambda left, right, c=colour: bool(left.select(colour=c)) != bool(right.select(colour=c)),
            )
        )
        for side in ("left", "right"):
            found.append(
                PairStatement(
                    f"The {side} image contains something {colour}.",
                    "side",
                    lambda left, right, c=colour, s=side: bool((left if s == "left" else right).select(colour=c)),
                )
            )
    return found


def write_pairs(
    path: Path, split: str, pictures: Sequence[Picture], rng: np.random.Generator, most: int = 2
) -> list[str]:
    """Write one split as JSON lines (identifier `split-set-pair-sentence`); returns the sentences.

    Eight pictures in a row are the four pairs of a set. A sentence is used when it is true of two of them, so half of
    the labels of every sentence are True. A set has at most `most` sentences, each of another kind.
    """
    statements, lines, sentences = pair_statements(), [], []
    for start in range(0, len(pictures), 8):
        scenes = [picture.scene for picture in pictures[start : start + 8]]
        number = pictures[start].name.split("-")[1]
        fitting = []
        for place in rng.permutation(len(statements)):
            labels = [statements[place].holds(scenes[2 * i], scenes[2 * i + 1]) for i in range(4)]
            if sum(labels) == 2:
                fitting.append((statements[place], labels))
        for index, (statement, labels) in enumerate(_different_kinds(fitting)[:most]):
            sentences.append(statement.sentence)
            for pair, label in enumerate(labels):
                lines.append(_line(f"{split}-{number}-{pair}-{index}", statement.sentence, label))
    with atomic_write(path) as stream:
        stream.writelines(line + "\n" for line in lines)
    return sentences


def _different_kinds(fitting: list[tuple[PairStatement, list[bool]]]) -> list[tuple[PairStatement, list[bool]]]:
    chosen: dict[str, tuple[PairStatement, list[bool]]] = {}
    for statement, labels in fitting:
        chosen.setdefault(statement.kind, (statement, labels))
    return list(chosen.values())


def _line(identifier: str, sentence: str, label: bool) -> str:
    return json.dumps(
        {
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
    )
