"""Phrase grounding on Flickr30k Entities: recall among the first regions, and what no model could find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyutils.errors import InputError

COUNTS = (1, 5, 10)
NEVER = -1


def first_hits(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """At which place of the ranking the first right region of each phrase stands, from 0; `NEVER` where none is right.

    `scores` `[p, r]` float, higher is better, of equal ones the first; `right` `[p, r]` bool. Returns `[p]` int64.
    """
    scores, right = np.asarray(scores), np.asarray(right).astype(bool)
    if scores.shape != right.shape or scores.ndim != 2:
        raise ValueError(f"scores {scores.shape} and right {right.shape} must both be [phrases, regions]")
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(right, order, axis=1)
    return np.where(ranked.any(axis=1), ranked.argmax(axis=1), NEVER).astype(np.int64)


def phrase_recall(hits: np.ndarray, counts: Sequence[int] = COUNTS) -> dict[str, float]:
    """`recall@k`: the share of phrases with a right region among the first k; `upper_bound`: with any at all.

    `hits` `[p]` as `first_hits` gives them. Shares from 0 to 1. InputError when there is no phrase.
    """
    hits = np.asarray(hits)
    if not hits.size:
        raise InputError("phrase grounding of a split without phrases that have a box")
    found = {f"recall@{count}": float(((hits != NEVER) & (hits < count)).mean()) for count in counts}
    return {**found, "upper_bound": float((hits != NEVER).mean())}
