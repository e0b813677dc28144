"""The file that VCR's leaderboard takes: probabilities of the answers, and of the rationales given each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike, atomic_write
from pyutils.metrics.vcr import CHOICES, Scores

RESULT_FILE = "leaderboard.csv"
_GROUPS = ("answer", *(f"rationale_conditioned_on_a{number}" for number in range(CHOICES)))
COLUMNS = ("annot_id", *(f"{group}_{choice}" for group in _GROUPS for choice in range(CHOICES)))


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
