"""NLVR2 predictions: accuracy, consistency, and the file that the official `metrics.py` of Suhr et al. (2019) reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from pyutils.formats.atomic import atomic_write
from pyutils.metrics.predictions import Predictions

RESULT_FILE = "predictions.csv"


class NLVR2Scores(NamedTuple):
    """Shares from 0 to 1: correct examples, and sentences that are correct on all their image pairs."""

    accuracy: float
    consistency: float


def nlvr2_scores(labels: Mapping[str, bool], predictions: Mapping[str, bool]) -> NLVR2Scores:
    """Return NLVR2's official accuracy and consistency (Suhr et al. 2019, section 5); arguments by example identifier.

    Identifiers are "split-set-pair-sentence"; examples that share all but the pair number are about one sentence.
    """
    correct = {identifier: bool(predictions[identifier]) == bool(label) for identifier, label in labels.items()}
    consistent: dict[tuple[str, str, str], bool] = {}
    for identifier, right in correct.items():
        split, group, _, number = identifier.split("-")
        sentence = (split, group, number)
        consistent[sentence] = consistent.get(sentence, True) and right
    return NLVR2Scores(sum(correct.values()) / len(correct), sum(consistent.values()) / len(consistent))


@dataclass(frozen=True)
class PairPredictions(Predictions):
    """Predictions for every example of a split: `identifiers`, `predicted` [n] bool, `labels` (None where hidden)."""

    identifiers: Sequence[str]
    predicted: np.ndarray
    labels: Sequence[Optional[bool]]

    def metrics(self) -> dict[str, float]:
        """Return the official `accuracy` and `consistency` in percent; {} where a label is hidden."""
        if any(label is None for label in self.labels):
            return {}
        labels = [bool(label) for label in self.labels]
        scores = nlvr2_scores(dict(zip(self.identifiers, labels)), dict(zip(self.identifiers, self.predicted)))
        return {name: 100.0 * value for name, value in scores._asdict().items()}

    def write(self, directory: Path) -> list[Path]:
        """Write `predictions.csv`: a line "identifier,True" or "identifier,False" per example, without a header."""
        path = directory / RESULT_FILE
        with atomic_write(path) as stream:
            stream.writelines(f"{name},{bool(value)}\n" for name, value in zip(self.identifiers, self.predicted))
        return [path]
