"""Visual entailment predictions (SNLI-VE), and their result file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from pyutils.formats.atomic import write_json
from pyutils.metrics.classification import accuracy, per_class_accuracy
from pyutils.metrics.predictions import Predictions

RESULT_FILE = "labels.json"
_NO_LABEL = -1


@dataclass(frozen=True)
class EntailmentPredictions(Predictions):
    """The predicted class of every pair of a split.

    identifiers: of the pairs. predicted: [n] int64, rows of `classes`. labels: names of classes; None without a
    majority of the annotators or where the label is hidden, such pairs do not count.
    """

    identifiers: Sequence[str]
    predicted: np.ndarray
    labels: Sequence[Optional[str]]
    classes: Sequence[str]

    def metrics(self) -> dict[str, float]:
        """Return `accuracy` and `accuracy/<class>` in percent; {} for a split without any label."""
        labels = np.array([self.classes.index(label) if label else _NO_LABEL for label in self.labels])
        if (labels == _NO_LABEL).all():
            return {}
        overall = accuracy(self.predicted, labels, _NO_LABEL)
        by_class = per_class_accuracy(self.predicted, labels, self.classes)
        return {"accuracy": 100.0 * overall, **{f"accuracy/{name}": 100.0 * part for name, part in by_class.items()}}

    def write(self, directory: Path) -> list[Path]:
        """Write `labels.json`: pairID and label of every pair."""
        rows = zip(self.identifiers, self.predicted.tolist())
        write_json(directory / RESULT_FILE, [{"pairID": name, "label": self.classes[row]} for name, row in rows])
        return [directory / RESULT_FILE]
