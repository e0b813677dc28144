"""SNLI-VE: hypotheses that a picture shows, refutes, or leaves open because a closed box may hold the thing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyutils.formats.atomic import atomic_write
from pyutils.sample.balance import balanced
from pyutils.sample.language import Statement, existence_statements
from pyutils.sample.pool import Picture
from pyutils.sample.scenes import EVERYTHING, Concepts, Scene

LABELS = ("entailment", "neutral", "contradiction")
_PAIRS_PER_PICTURE = 6


def label_of(statement: Statement, scene: Scene) -> str:
    """Entailment when it is seen; neutral when it is not seen but a closed box may hold it; else contradiction."""
    if statement.holds(scene):
        return "entailment"
    return "neutral" if scene.hides else "contradiction"


def write_entailment(
    path: Path, pictures: Sequence[Picture], rng: np.random.Generator, concepts: Concepts = EVERYTHING
) -> list[str]:
    """Write JSON lines with SNLI-VE's keys, every hypothesis equally often under each label; returns the hypotheses."""
    statements = existence_statements(concepts)
    budget = _PAIRS_PER_PICTURE * len(pictures)
    share = max(3 * budget // (2 * len(statements)), 3)
    rows: list[tuple[Picture, str, str]] = []
    for place in rng.permutation(len(statements)):
        statement = statements[place]
        by_label: dict[str, list[Picture]] = {label: [] for label in LABELS}
        for picture in pictures:
            by_label[label_of(statement, picture.scene)].append(picture)
        picked = balanced(by_label, rng, most=share, answers=len(LABELS))
        rows += [(picture, label, statement.text) for label, picture in picked]
    rows.sort(key=lambda row: (row[0].image_id, row[2]))
    with atomic_write(path) as stream:
        for number, (picture, label, sentence) in enumerate(rows):
            stream.write(json.dumps(_line(picture, label, sentence, number)) + "\n")
    return [sentence for _, _, sentence in rows]


def _line(picture: Picture, label: str, sentence: str, number: int) -> dict:
    which = number % len(picture.captions)
    caption = f"{picture.name}.jpg#{which}"
    return {
        "annotator_labels": [label],
        "captionID": caption,
        "gold_label": label,
        "pairID": f"{caption}r{number}{label[0]}",
        "sentence1": picture.captions[which].text,
        "sentence2": sentence,
        "Flickr30K_ID": picture.name,
    }
