"""ALBEF's cleaning of captions and questions (Li et al. 2021, its published data code)."""

from __future__ import annotations

import re
from typing import Optional

_MARKS = re.compile(r"[,.'!?\"()*#:;~]")
_MANY_SPACES = re.compile(r"\s{2,}")


def clean_caption(caption: str, max_words: Optional[int] = None) -> str:
    """Lower-case, remove most marks, turn hyphens and slashes into spaces, "<person>" into a word; cut.

    Words are separated by single spaces: a tab or one line break inside the text stays, as in the original.
    """
    text = _spaced(caption).replace("<person>", "person")
    text = _MANY_SPACES.sub(" ", text).rstrip("\n").strip(" ")
    return _first_words(text, max_words)


def clean_question(question: str, max_words: Optional[int] = None) -> str:
    """As `clean_caption`, but inner and leading spaces stay, each counting as a word, and "<person>" stays too."""
    return _first_words(_spaced(question).rstrip(" "), max_words)


def has_words(text: str) -> bool:
    """True when there is a letter or a digit, of any script: cleaning may leave nothing of other texts."""
    return any(map(str.isalnum, text))


def _spaced(text: str) -> str:
    return _MARKS.sub("", text.lower()).replace("-", " ").replace("/", " ")


def _first_words(text: str, count: Optional[int]) -> str:
    return text if count is None else " ".join(text.split(" ")[:count])
