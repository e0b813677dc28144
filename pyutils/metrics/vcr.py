"""VCR's three accuracies (Zellers et al., CVPR 2019): Q→A, QA→R, and Q→AR, which needs both to be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Union

import numpy as np

from pyutils.errors import InputError

CHOICES = 4
Scores = Union[np.ndarray, Sequence[float]]


class VCRScores(NamedTuple):
    """Shares from 0 to 1: answers right, rationales (given the right answer) right, both right."""

    q_a: float
    qa_r: float
    q_ar: float


def vcr_scores(
    answers: np.ndarray, rationales: np.ndarray, answer_labels: np.ndarray, rationale_labels: np.ndarray
) -> VCRScores:
    """Accuracies of chosen `answers` and `rationales`, all [n] integers in the same order of questions.

    The rationale is chosen given the right answer, whatever was chosen as the answer. Raises InputError when there is
    no question, ValueError when lengths differ.
    """
    arrays = [np.asarray(array) for array in (answers, rationales, answer_labels, rationale_labels)]
    if any(array.shape != arrays[0].shape or array.ndim != 1 for array in arrays):
        raise ValueError(f"expected four arrays [n], found {', '.join(str(array.shape) for array in arrays)}")
    if not arrays[0].size:
        raise InputError("VCR evaluation of an empty split")
    answer_right, rationale_right = arrays[0] == arrays[2], arrays[1] == arrays[3]
    both = answer_right & rationale_right
    return VCRScores(float(answer_right.mean()), float(rationale_right.mean()), float(both.mean()))


def combine(
    labels: Mapping[str, tuple[int, int]], answers: Mapping[str, Scores], rationales: Mapping[str, Scores]
) -> VCRScores:
    """The three accuracies from two models' results, joined by annotation id ("val-0").

    Args:
        labels: annotation id -> (right answer, right rationale).
        answers: annotation id -> scores of the four answers; the highest is chosen, of equal ones the first.
        rationales: annotation id -> scores of the four rationales.
    Raises:
        InputError: results of a question are missing, belong to no question, or are not four numbers.
    """
    chosen = _chosen(labels, answers, "answer"), _chosen(labels, rationales, "rationale")
    right = np.array(list(labels.values()), dtype=np.int64).reshape(-1, 2)
    return vcr_scores(chosen[0], chosen[1], right[:, 0], right[:, 1])


def _chosen(labels: Mapping[str, tuple[int, int]], results: Mapping[str, Scores], what: str) -> np.ndarray:
    missing = [name for name in labels if name not in results]
    if missing:
        raise InputError(f"no {what} scores for {len(missing)} of {len(labels)} VCR questions, e.g. {missing[0]}")
    extra = [name for name in results if name not in labels]
    if extra:
        raise InputError(f"{what} scores for {extra[0]}, which is no question of this split; is it another split?")
    chosen = np.empty(len(labels), dtype=np.int64)
    for place, name in enumerate(labels):
        scores = np.asarray(results[name], dtype=np.float64)
        if scores.shape != (CHOICES,) or np.isnan(scores).any():
            raise InputError(f"{what} scores of {name}: expected {CHOICES} numbers, found {scores.tolist()}")
        chosen[place] = scores.argmax()
    return chosen
