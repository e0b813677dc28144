"""Accuracy of labels, and NLVR2's accuracy and consistency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

from pyutils.errors import InputError


class NLVR2Scores(NamedTuple):
    """Shares from 0 to 1: examples judged rightly, and sentences judged rightly on all their image pairs."""

    accuracy: float
    consistency: float


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, float64."""
    shares = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def accuracy(predicted: np.ndarray, labels: np.ndarray, ignore_index: Optional[int] = None) -> float:
    """Share of `predicted` [n] that equal `labels` [n], 0 to 1; 0 when there is nothing to count.

    Labels equal to `ignore_index` (SNLI-VE's undecided pairs) do not count.
    """
    predicted, labels = _checked(predicted, labels)
    counted = np.ones(labels.shape, dtype=bool) if ignore_index is None else labels != ignore_index
    return float((predicted[counted] == labels[counted]).mean()) if counted.any() else 0.0


def per_class_accuracy(
    predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], ignore_index: Optional[int] = None
) -> dict[str, float]:
    """For each class that occurs in `labels`, the share of its examples that were predicted rightly, by class name.

    Raises ValueError for a label without a name.
    """
    predicted, labels = _checked(predicted, labels)
    counted = np.ones(labels.shape, dtype=bool) if ignore_index is None else labels != ignore_index
    predicted, labels = predicted[counted], labels[counted]
    if labels.size and not 0 <= labels.min() <= labels.max() < len(names):
        raise ValueError(f"labels range from {labels.min()} to {labels.max()}, but {len(names)} classes are named")
    return {
        name: float((predicted[labels == number] == number).mean())
        for number, name in enumerate(names)
        if (labels == number).any()
    }


def nlvr2_scores(labels: Mapping[str, bool], predictions: Mapping[str, bool]) -> NLVR2Scores:
    """NLVR2's official accuracy and consistency (Suhr et al. 2019, section 5), both dicts by example identifier.

    Identifiers are "split-set-pair-sentence"; examples that share all but the pair number are about one sentence.
    Raises InputError when an example has no prediction, an identifier is malformed, or there is no example.
    """
    if not labels:
        raise InputError("NLVR2 evaluation of an empty split")
    missing = [identifier for identifier in labels if identifier not in predictions]
    if missing:
        raise InputError(f"no NLVR2 prediction for {len(missing)} of {len(labels)} examples, e.g. {missing[0]}")
    all_right: dict[tuple[str, str, str], bool] = {}
    right = 0
    for identifier, label in labels.items():
        parts = identifier.split("-")
        if len(parts) != 4:
            raise InputError(f'"{identifier}" is not an NLVR2 identifier; expected split-set-pair-sentence')
        correct = bool(predictions[identifier]) == bool(label)
        right += correct
        sentence = (parts[0], parts[1], parts[3])
        all_right[sentence] = all_right.get(sentence, True) and correct
    return NLVR2Scores(right / len(labels), sum(all_right.values()) / len(all_right))


def _checked(predicted: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if predicted.shape != labels.shape or labels.ndim != 1:
        raise ValueError(f"predicted {predicted.shape} and labels {labels.shape} must both be [n]")
    return predicted, labels
