"""NLVR2 predictions, and their file as the official `metrics.py` of Suhr et al. (2019) reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write
from pyutils.metrics.classification import nlvr2_scores
from pyutils.metrics.predictions import Predictions

RESULT_FILE = "predictions.csv"
_VALUES = {"true": True, "false": False}


@dataclass(frozen=True)
class PairPredictions(Predictions):
    """Predictions for every example of a split: `identifiers`, `said` `[n]` bool, `labels` (None where hidden)."""

    identifiers: Sequence[str]
    said: np.ndarray
    labels: Sequence[Optional[bool]]

    def metrics(self) -> dict[str, float]:
        """Official `accuracy` and `consistency` in percent; {} where a label is hidden."""
        if any(label is None for label in self.labels):
            return {}
        labels = [bool(label) for label in self.labels]
        scores = nlvr2_scores(dict(zip(self.identifiers, labels)), dict(zip(self.identifiers, self.said)))
        return {name: 100.0 * value for name, value in scores._asdict().items()}

    def write(self, directory: Path) -> list[Path]:
        """Write `predictions.csv` for the official metrics."""
        return [write_predictions(directory / RESULT_FILE, self.identifiers, self.said)]


def write_predictions(path: Path, identifiers: Iterable[str], predictions: Iterable[bool]) -> Path:
    """Write a line "identifier,True" or "identifier,False" an example, without a header; returns `path`."""
    with atomic_write(path) as stream:
        stream.writelines(f"{name},{bool(value)}\n" for name, value in zip(identifiers, predictions))
    return path


def read_predictions(path: Path) -> dict[str, bool]:
    """Example identifier -> prediction. InputError naming the line that is not "identifier,True" or "…,False"."""
    found: dict[str, bool] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        name, comma, value = line.strip().partition(",")
        if not name:
            continue
        if not comma or value.strip().lower() not in _VALUES:
            raise InputError(f'{path}: line {number}: expected "identifier,True" or "identifier,False", found {line!r}')
        if name in found:
            raise InputError(f"{path}: line {number}: a second prediction for {name}")
        found[name] = _VALUES[value.strip().lower()]
    return found
