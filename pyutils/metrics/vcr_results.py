"""VCR predictions of one model or of an answer and a rationale model, with the file that the leaderboard takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike, atomic_write, write_json
from pyutils.metrics.predictions import Predictions
from pyutils.metrics.vcr import CHOICES, Scores, combine

RESULT_FILE = "leaderboard.csv"
_GROUPS = ("answer", *(f"rationale_conditioned_on_a{number}" for number in range(CHOICES)))
COLUMNS = ("annot_id", *(f"{group}_{choice}" for group in _GROUPS for choice in range(CHOICES)))


Labels = Mapping[str, Optional[int]]


class ChoicePredictions(Predictions):
    """Scores of the four answers, or of the four rationales, of every question of a split.

    scores: annotation id -> four scores. labels: annotation id -> the right choice, None where it is hidden. file_name:
    of the scores as JSON.
    """

    def __init__(self, scores: Mapping[str, Sequence[float]], labels: Labels, file_name: str):
        self.scores, self.labels, self.file_name = scores, labels, file_name

    def metrics(self) -> dict[str, float]:
        """`accuracy` in percent; {} where a label is hidden."""
        if None in self.labels.values():
            return {}
        right = [np.argmax(scores) == self.labels[name] for name, scores in self.scores.items()]
        return {"accuracy": 100.0 * float(np.mean(right))}

    def write(self, directory: Path) -> list[Path]:
        """Write the scores by annotation id as JSON."""
        write_json(directory / self.file_name, self.scores)
        return [directory / self.file_name]


class JointPredictions(Predictions):
    """Predictions of an answer model and a rationale model.

    answers: of the first. conditioned: annotation id -> scores of the rationales, after each of the four answers.
    rationale_labels: annotation id -> the right rationale, None where it is hidden.
    """

    def __init__(
        self,
        answers: ChoicePredictions,
        conditioned: Sequence[Mapping[str, Sequence[float]]],
        rationale_labels: Labels,
    ):
        self.answers, self.conditioned, self.rationale_labels = answers, conditioned, rationale_labels

    def metrics(self) -> dict[str, float]:
        """`q_a`, `qa_r` and `q_ar` in percent; {} where a label is hidden. The rationale is judged after the right
        answer, whichever was chosen."""
        labels: dict[str, Any] = {
            name: (label, self.rationale_labels[name]) for name, label in self.answers.labels.items()
        }
        if any(None in pair for pair in labels.values()):
            return {}
        rationales = {name: self.conditioned[answer][name] for name, (answer, _) in labels.items()}
        found = combine(labels, self.answers.scores, rationales)
        return {name: 100.0 * value for name, value in found._asdict().items()}

    def write(self, directory: Path) -> list[Path]:
        """Write the answers' scores, and `leaderboard.csv`."""
        file = write_leaderboard(directory / RESULT_FILE, self.answers.scores, self.conditioned)
        return [*self.answers.write(directory), file]


def write_leaderboard(
    path: PathLike, answers: Mapping[str, Scores], conditioned: Sequence[Mapping[str, Scores]]
) -> Path:
    """Write `COLUMNS` and a line a question, in the order of `answers`; returns the path.

    Args:
        answers: annotation id -> scores of the four answers.
        conditioned: for each of the four answers, annotation id -> scores of the four rationales after it.
    Raises:
        InputError: other than four sets of rationale scores, a question that one of them lacks or has in excess, scores
            that are not four finite numbers.
    """
    if len(conditioned) != CHOICES:
        raise InputError(f"the leaderboard wants rationales after each of {CHOICES} answers, found {len(conditioned)}")
    for number, scores in enumerate(conditioned):
        odd = set(answers).symmetric_difference(scores)
        if odd:
            raise InputError(
                f"rationales after answer {number} are of other questions than the answers, e.g. {min(odd)}: "
                "predict the same split with both models"
            )
    path = Path(path)
    with atomic_write(path) as stream:
        stream.write(",".join(COLUMNS) + "\n")
        for name in answers:
            rows = [answers[name], *(scores[name] for scores in conditioned)]
            shares = np.concatenate([probabilities(row, name) for row in rows])
            stream.write(",".join([name, *(f"{share:.6f}" for share in shares)]) + "\n")
    return path


def probabilities(scores: Scores, name: str = "scores") -> np.ndarray:
    """The softmax [4] float64 of four scores. InputError, naming the question, when they are not finite numbers."""
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (CHOICES,) or not np.isfinite(values).all():
        raise InputError(f"{name}: expected {CHOICES} finite scores, found {values.tolist()}")
    shares = np.exp(values - values.max())
    return shares / shares.sum()
