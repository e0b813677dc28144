"""Predictions of an image and a sentence's class (SNLI-VE, own classes), and their result file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from pyutils.formats.atomic import write_json
from pyutils.metrics.classification import accuracy, auroc, per_class_accuracy
from pyutils.metrics.predictions import Predictions

RESULT_FILE = "labels.json"
_NO_LABEL = -1


@dataclass(frozen=True)
class EntailmentPredictions(Predictions):
    """The predicted class of every pair of a split.

    identifiers: of the pairs. scores: [n, classes] float, a probability of each class; the highest is predicted.
    labels: names of classes; None without a majority of the annotators or where the label is hidden, such pairs do not
    count.
    """

    identifiers: Sequence[str]
    scores: np.ndarray
    labels: Sequence[Optional[str]]
    classes: Sequence[str]

    @property
    def predicted(self) -> np.ndarray:
        """The predicted classes, [n] int64, rows of `classes`."""
        return self.scores.argmax(axis=1)

    def metrics(self) -> dict[str, float]:
        """Return `accuracy` and `accuracy/<class>` in percent, with two classes `auroc` too; {} without any label."""
        labels = np.array([_NO_LABEL if label is None else self.classes.index(label) for label in self.labels])
        counted = labels != _NO_LABEL
        if not counted.any():
            return {}
        predicted = self.predicted
        by_class = per_class_accuracy(predicted, labels, self.classes)
        metrics = {"accuracy": 100.0 * accuracy(predicted, labels, _NO_LABEL)}
        if len(self.classes) == 2 and len(by_class) == 2:
            margin = self.scores[counted, 1] - self.scores[counted, 0]
            metrics["auroc"] = 100.0 * auroc(margin, labels[counted] == 1)
        return {**metrics, **{f"accuracy/{name}": 100.0 * part for name, part in by_class.items()}}

    def write(self, directory: Path) -> list[Path]:
        """Write `labels.json`: pairID, label and the probability of every class, for each pair."""
        rows = [
            {
                "pairID": name,
                "label": self.classes[number],
                "probabilities": {label: round(float(value), 6) for label, value in zip(self.classes, own)},
            }
            for name, number, own in zip(self.identifiers, self.predicted, self.scores)
        ]
        write_json(directory / RESULT_FILE, rows)
        return [directory / RESULT_FILE]
