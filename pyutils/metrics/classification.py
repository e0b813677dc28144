"""Accuracy of class predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the probabilities along the last axis, float64."""
    exponentials = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def accuracy(predicted: np.ndarray, labels: np.ndarray, ignore_index: Optional[int] = None) -> float:
    """Return the share of `predicted` [n] that equal `labels` [n], 0 to 1; 0 when there is nothing to count.

    Labels equal to `ignore_index` (SNLI-VE pairs without a majority) do not count.
    """
    counted = np.ones(labels.shape, dtype=bool) if ignore_index is None else labels != ignore_index
    return float((predicted[counted] == labels[counted]).mean()) if counted.any() else 0.0


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve, 0 to 1, of `scores` [n] for `positive` [n] bool; both kinds must occur.

    The share of pairs of a positive and a negative whose positive has the higher score; ties count a half.
    """
    order = np.argsort(scores, kind="stable")
    _, first, counts = np.unique(scores[order], return_index=True, return_counts=True)
    ranks = np.empty(len(scores))
    ranks[order] = np.repeat(first + (counts + 1) / 2, counts)  # from 1; the mean of ties
    hits = int(positive.sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (len(scores) - hits)))


def per_class_accuracy(predicted: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Return the accuracy, 0 to 1, on the examples of each class that occurs in `labels` [n], by class name.

    `predicted` and `labels` are rows of `names`; other labels are ignored.
    """
    return {
        name: accuracy(predicted[labels == number], labels[labels == number])
        for number, name in enumerate(names)
        if (labels == number).any()
    }
