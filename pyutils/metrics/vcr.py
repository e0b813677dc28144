"""VCR (Zellers et al., CVPR 2019): accuracies Q→A, QA→R, Q→AR (both correct), predictions, the leaderboard file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike, atomic_write, write_json
from pyutils.metrics.classification import softmax
from pyutils.metrics.predictions import Predictions

CHOICES = 4
RESULT_FILE = "leaderboard.csv"
_GROUPS = ("answer", *(f"rationale_conditioned_on_a{number}" for number in range(CHOICES)))
COLUMNS = ("annot_id", *(f"{group}_{choice}" for group in _GROUPS for choice in range(CHOICES)))

Scores = Union[np.ndarray, Sequence[float]]
Labels = Mapping[str, Optional[int]]


class VCRScores(NamedTuple):
    """Shares from 0 to 1: correct answers, correct rationales (given the correct answer), both correct."""

    q_a: float
    qa_r: float
    q_ar: float


def combine(
    labels: Mapping[str, tuple[int, int]], answers: Mapping[str, Scores], rationales: Mapping[str, Scores]
) -> VCRScores:
    """Return the three accuracies from the results of two models, joined by annotation id ("val-0").

    Args:
        labels: annotation id -> (correct answer, correct rationale).
        answers: annotation id -> scores of the four answers; the highest is chosen, of equal ones the first.
        rationales: annotation id -> scores of the four rationales after the correct answer, whichever was chosen.
    Raises:
        InputError: the results are of other questions than the labels, or are not four numbers per question.
    """
    correct = np.array(list(labels.values()), dtype=np.int64)  # [questions, 2]
    answer_correct = _chosen(labels, answers, "answer") == correct[:, 0]
    rationale_correct = _chosen(labels, rationales, "rationale") == correct[:, 1]
    both = answer_correct & rationale_correct
    return VCRScores(float(answer_correct.mean()), float(rationale_correct.mean()), float(both.mean()))


def _chosen(labels: Mapping[str, Any], results: Mapping[str, Scores], what: str) -> np.ndarray:
    """Return the choice [questions] int64 with the highest score for each question of `labels`."""
    _check_questions(labels, results, what)
    chosen = np.empty(len(labels), dtype=np.int64)
    for row, name in enumerate(labels):
        scores = np.asarray(results[name], dtype=np.float64)
        if scores.shape != (CHOICES,) or np.isnan(scores).any():
            raise InputError(f"{what} scores of {name}: expected {CHOICES} numbers, found {scores.tolist()}")
        chosen[row] = np.argmax(scores)
    return chosen


def _check_questions(expected: Mapping[str, Any], found: Mapping[str, Any], what: str) -> None:
    different = set(expected).symmetric_difference(found)
    if different:
        raise InputError(
            f"{what}: scores and questions differ in {len(different)} of {len(expected)} questions, e.g. "
            f"{min(different)}; predict the same split with both models"
        )


class ChoicePredictions(Predictions):
    """Scores of the four answers, or of the four rationales, of every question of a split.

    scores: annotation id -> four scores. labels: annotation id -> the correct choice, None where it is hidden.
    file_name: of the scores as JSON.
    """

    def __init__(self, scores: Mapping[str, Sequence[float]], labels: Labels, file_name: str):
        self.scores, self.labels, self.file_name = scores, labels, file_name

    def metrics(self) -> dict[str, float]:
        """Return `accuracy` in percent; {} where a label is hidden."""
        if None in self.labels.values():
            return {}
        correct = [np.argmax(scores) == self.labels[name] for name, scores in self.scores.items()]
        return {"accuracy": 100.0 * float(np.mean(correct))}

    def write(self, directory: Path) -> list[Path]:
        """Write the scores by annotation id as JSON."""
        write_json(directory / self.file_name, self.scores)
        return [directory / self.file_name]


class JointPredictions(Predictions):
    """Predictions of an answer model and a rationale model.

    answers: of the first. conditioned: for each of the four answers, annotation id -> scores of the rationales after
    it. rationale_labels: annotation id -> the correct rationale, None where it is hidden.
    """

    def __init__(
        self,
        answers: ChoicePredictions,
        conditioned: Sequence[Mapping[str, Sequence[float]]],
        rationale_labels: Labels,
    ):
        self.answers, self.conditioned, self.rationale_labels = answers, conditioned, rationale_labels

    def metrics(self) -> dict[str, float]:
        """Return `q_a`, `qa_r` and `q_ar` in percent; {} where a label is hidden."""
        labels: dict[str, Any] = {
            name: (label, self.rationale_labels[name]) for name, label in self.answers.labels.items()
        }
        if any(None in pair for pair in labels.values()):
            return {}
        rationales = {name: self.conditioned[answer][name] for name, (answer, _) in labels.items()}
        scores = combine(labels, self.answers.scores, rationales)
        return {name: 100.0 * value for name, value in scores._asdict().items()}

    def write(self, directory: Path) -> list[Path]:
        """Write the answers' scores, and `leaderboard.csv`."""
        file = write_leaderboard(directory / RESULT_FILE, self.answers.scores, self.conditioned)
        return [*self.answers.write(directory), file]


def write_leaderboard(
    path: PathLike, answers: Mapping[str, Scores], conditioned: Sequence[Mapping[str, Scores]]
) -> Path:
    """Write `COLUMNS` and a line of probabilities per question, in the order of `answers`; return the path.

    Args:
        answers: annotation id -> scores of the four answers.
        conditioned: for each of the four answers, annotation id -> scores of the four rationales after it.
    Raises:
        InputError: rationales are of other questions than the answers, or scores are not four finite numbers.
    """
    for number, scores in enumerate(conditioned):
        _check_questions(answers, scores, f"rationales after answer {number}")
    path = Path(path)
    with atomic_write(path) as stream:
        stream.write(",".join(COLUMNS) + "\n")
        for name in answers:
            rows = [answers[name], *(scores[name] for scores in conditioned)]
            values = np.concatenate([probabilities(row, name) for row in rows])
            stream.write(",".join([name, *(f"{value:.6f}" for value in values)]) + "\n")
    return path


def probabilities(scores: Scores, name: str = "scores") -> np.ndarray:
    """Return the softmax [4] float64 of four scores. InputError, naming the question, unless they are finite."""
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (CHOICES,) or not np.isfinite(values).all():
        raise InputError(f"{name}: expected {CHOICES} finite scores, found {values.tolist()}")
    return softmax(values)
