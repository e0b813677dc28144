"""Texts that point at objects of a picture (VCR) as plain words: a tag becomes the object's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np

from pyutils.data.records import TaggedText

PERSON = "person"
#: People get a name, so that two of them can be told apart; names that say nothing about the person.
NEUTRAL_NAMES = (
    "Alex", "Ari", "Bailey", "Blair", "Casey", "Charlie", "Dana", "Drew", "Eden", "Ellis", "Emery", "Finley",
    "Frankie", "Harper", "Jamie", "Jessie", "Jordan", "Kelly", "Kim", "Lee", "Logan", "Morgan", "Pat", "Quinn",
    "Reese", "Riley", "Robin", "Rowan", "Sam", "Skyler", "Taylor", "Terry",
)  # fmt: skip


def speaking_names(names: Sequence[str], rng: Optional[np.random.Generator] = None) -> list[str]:
    """What to call the objects `names`: a person gets a neutral name of its own, other things keep theirs.

    Without `rng` the names are given in order, so that evaluation is the same each time; with it they are drawn anew,
    so that a model cannot lean on them. With more people than names, names repeat.
    """
    order = range(len(NEUTRAL_NAMES)) if rng is None else rng.permutation(len(NEUTRAL_NAMES))
    given = [NEUTRAL_NAMES[number] for number in order]
    people = np.cumsum([name == PERSON for name in names]) - 1 if names else []
    return [given[person % len(given)] if name == PERSON else name for name, person in zip(names, people)]


def in_words(text: TaggedText, names: Sequence[str]) -> str:
    """`text` with each tag replaced by the names of the objects it points at, words apart by one space."""
    return " ".join(
        " ".join(names[number] for number in tags) if tags else word for word, tags in zip(text.words, text.objects)
    )
