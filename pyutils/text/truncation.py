"""Cutting texts to a model's length without losing [SEP]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pyutils.errors import InputError, nearest

Word = TypeVar("Word")

_SINGLE_SPECIALS = 2  # [CLS] words [SEP]
_PAIR_SPECIALS = 3  # [CLS] words [SEP] words [SEP]
_CONTEXT_KEPT = 32


def truncate(words: Sequence[Word], max_length: int) -> list[Word]:
    """The first of `words` that fit `[CLS] words [SEP]` into `max_length` positions."""
    _check_length(max_length, _SINGLE_SPECIALS)
    return list(words[: max_length - _SINGLE_SPECIALS])


def truncate_pair(
    first: Sequence[Word], second: Sequence[Word], max_length: int, rule: str = "longest_first"
) -> tuple[list[Word], list[Word]]:
    """Both texts cut so that `[CLS] first [SEP] second [SEP]` fits into `max_length` positions.

    Rules: "longest_first" takes words from the end of the longer text, of the second when both are equally long.
    "authors" is VisualBERT's published rule, kept to reproduce it: words go from the FRONT, the first text keeps at
    least 32, and what the first text loses is taken from the second once more, so that the result may be far shorter
    than `max_length`, or longer. Raises InputError for another name or a length without room for a word.
    """
    _check_length(max_length, _PAIR_SPECIALS)
    if rule not in _PAIR_RULES:
        raise InputError(f"unknown truncation rule {rule!r}: {nearest(rule, _PAIR_RULES)}")
    excess = len(first) + len(second) + _PAIR_SPECIALS - max_length
    if excess <= 0:
        return list(first), list(second)
    return _PAIR_RULES[rule](first, second, excess)


def _longest_first(first: Sequence[Word], second: Sequence[Word], excess: int) -> tuple[list[Word], list[Word]]:
    room = len(first) + len(second) - excess
    shorter = min(len(first), len(second))
    if shorter <= room // 2:
        longer = room - shorter
        kept = (shorter, longer) if len(first) <= len(second) else (longer, shorter)
    else:
        kept = (room - room // 2, room // 2)
    return list(first[: kept[0]]), list(second[: kept[1]])


def _authors(first: Sequence[Word], second: Sequence[Word], excess: int) -> tuple[list[Word], list[Word]]:
    from_first = min((excess + 1) // 2, max(len(first) - _CONTEXT_KEPT, 0))
    return list(first[from_first:]), list(second[excess + from_first :])


_PAIR_RULES = {"longest_first": _longest_first, "authors": _authors}


def _check_length(max_length: int, specials: int) -> None:
    if max_length <= specials:
        raise InputError(f"a maximum text length of {max_length} leaves no room for a word beside {specials} marks")
