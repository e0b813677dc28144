"""Choose examples so that a text alone does not reveal its answer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Answer = TypeVar("Answer", bound=Hashable)
Item = TypeVar("Item")


def balanced(
    by_answer: Mapping[Answer, Sequence[Item]], rng: np.random.Generator, most: int, answers: int = 2
) -> list[tuple[Answer, Item]]:
    """Draw equally many items for every kept answer.

    Rare answers are left out: of all numbers of answers, at least `answers`, the one that keeps most items is taken.
    Guessing among k kept answers is right 1/k of the time.

    Args:
        by_answer: the items that have each answer.
        rng: draws which items are kept.
        most: upper limit of the number of items.
        answers: fewest answers to keep.

    Returns:
        (answer, item) pairs, answer by answer; empty when there are not `answers` answers.
    """
    sizes = sorted((len(items) for items in by_answer.values() if items), reverse=True)
    if len(sizes) < answers:
        return []
    kept = max(range(answers, len(sizes) + 1), key=lambda count: (count * sizes[count - 1], count))
    depth = min(sizes[kept - 1], most // kept)
    chosen = sorted((a for a in by_answer if by_answer[a]), key=lambda a: (-len(by_answer[a]), str(a)))[:kept]
    picked = []
    for answer in chosen:
        items = by_answer[answer]
        picked += [(answer, items[i]) for i in sorted(rng.permutation(len(items))[:depth])]
    return picked
