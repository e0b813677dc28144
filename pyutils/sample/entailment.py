"""SNLI-VE: hypotheses that an image entails, contradicts, or leaves open because of a closed box."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyutils.formats.atomic import atomic_write
from pyutils.sample.balance import balanced
from pyutils.sample.language import Statement, existence_statements
from pyutils.sample.pool import SampleImage
from pyutils.sample.scenes import CRATE, Concepts, Scene

LABELS = ("entailment", "neutral", "contradiction")
_PAIRS_PER_IMAGE = 6


def label_of(statement: Statement, scene: Scene) -> str:
    """Entailment when it is seen; neutral when it is not seen but a closed box may hold it; else contradiction."""
    if statement.holds(scene):
        return "entailment"
    return "neutral" if scene.select(shape=CRATE) else "contradiction"


def write_entailment(
    path: Path, images: Sequence[SampleImage], rng: np.random.Generator, concepts: Concepts
) -> list[str]:
    """Write JSON lines with SNLI-VE's keys, every hypothesis equally often under each label; returns the hypotheses."""
    statements = existence_statements(concepts)
    budget = _PAIRS_PER_IMAGE * len(images)
    share = max(3 * budget // (2 * len(statements)), 3)
    rows: list[tuple[SampleImage, str, str]] = []
    for number in rng.permutation(len(statements)):
        statement = statements[number]
        by_label: dict[str, list[SampleImage]] = {label: [] for label in LABELS}
        for image in images:
            by_label[label_of(statement, image.scene)].append(image)
        picked = balanced(by_label, rng, most=share, answers=len(LABELS))
        rows += [(image, label, statement.text) for label, image in picked]
    rows.sort(key=lambda row: (row[0].image_id, row[2]))
    with atomic_write(path) as stream:
        for number, (image, label, sentence) in enumerate(rows):
            stream.write(json.dumps(_line(image, label, sentence, number)) + "\n")
    return [sentence for _, _, sentence in rows]


def _line(image: SampleImage, label: str, sentence: str, number: int) -> dict:
    which = number % len(image.captions)
    caption = f"{image.name}.jpg#{which}"
    return {
        "annotator_labels": [label],
        "captionID": caption,
        "gold_label": label,
        "pairID": f"{caption}r{number}{label[0]}",
        "sentence1": image.captions[which].text,
        "sentence2": sentence,
        "Flickr30K_ID": image.name,
    }
