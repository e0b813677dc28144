"""Sequences of word ids for BERT-like encoders: truncation, special tokens, padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional, TypeVar

import numpy as np

from pyutils.errors import InputError
from pyutils.text.tokenizer import WordPiece

Word = TypeVar("Word")


@dataclass(frozen=True)
class TextSequence:
    """One encoded text: `ids` [t], `types` [t] (0, then 1 for a second text), `words` [t], true for words that masked
    language modelling may mask."""

    ids: list[int]
    types: list[int]
    words: list[bool]


def single(tokenizer: WordPiece, words: Sequence[int], max_length: int) -> TextSequence:
    """`[CLS] words [SEP]`, cut at the end to `max_length` positions. InputError when no word fits."""
    return _sequence([tokenizer.cls], list(words[: _room(max_length, 2)]), [tokenizer.sep])


def pair(tokenizer: WordPiece, first: Sequence[int], second: Sequence[int], max_length: int) -> TextSequence:
    """`[CLS] first [SEP] second [SEP]`, cut by `truncate_pair`; types 0, then 1."""
    first, second = truncate_pair(first, second, max_length)
    left = _sequence([tokenizer.cls], first, [tokenizer.sep])
    right = _sequence([], second, [tokenizer.sep])
    return TextSequence(left.ids + right.ids, left.types + [1] * len(right.ids), left.words + right.words)


def truncate_pair(first: Sequence[Word], second: Sequence[Word], max_length: int) -> tuple[list[Word], list[Word]]:
    """Cut both texts so that `[CLS] first [SEP] second [SEP]` fits into `max_length` positions.

    Words are removed from the end of the longer text, of the second when both are equally long. InputError when no word
    fits.
    """
    room = _room(max_length, 3)
    kept_first = max(room - len(second), room - room // 2)
    kept_second = max(room - len(first), room // 2)
    return list(first[:kept_first]), list(second[:kept_second])


def _room(max_length: int, specials: int) -> int:
    """Positions for words; InputError when there is none."""
    if max_length <= specials:
        raise InputError(
            f"a maximum text length of {max_length} leaves no room for words with {specials} special tokens"
        )
    return max_length - specials


def question(tokenizer: WordPiece, text: str, max_length: int, answer: Optional[str] = None) -> TextSequence:
    """VisualBERT's VQA text: `[CLS] question ? [MASK] [SEP]`, or `[CLS] question ? answer [SEP]` with an `answer`.

    The classifier reads the state at [MASK], two before the end. Commas and question marks of the question are
    replaced by one final question mark, as in the word lists of the published checkpoints. Only the question's words
    are cut to fit `max_length` positions, so that "? [MASK] [SEP]" is always complete. InputError when not even one
    word of the question fits.
    """
    mark, sep = tokenizer.id_of("?"), tokenizer.sep
    answer_words = [] if answer is None else [mark, *tokenizer.encode(answer)]
    end = [mark, tokenizer.mask, sep] if answer is None else [sep]
    room = _room(max_length, 1 + len(answer_words) + len(end))
    words = tokenizer.encode(text.replace(",", " ").replace("?", " "), max_words=room)
    return _sequence([tokenizer.cls], words + answer_words, end)


def pad(rows: Sequence[Sequence[int]], value: int, multiple: int = 1) -> np.ndarray:
    """Stack `rows` as [b, t] int64, padded with `value`; t is the longest row's length rounded up to `multiple`."""
    longest = max((len(row) for row in rows), default=0)
    padded = np.full((len(rows), -(-longest // multiple) * multiple), value, dtype=np.int64)
    for target, row in zip(padded, rows):
        target[: len(row)] = row
    return padded


def batch(sequences: Sequence[TextSequence], pad_id: int, multiple: int = 1) -> dict[str, np.ndarray]:
    """The batch's text arrays, each [b, t] int64: `input_ids`, `text_mask` (0 in the padding), `token_type_ids` (0 in
    the padding)."""
    return {
        "input_ids": pad([sequence.ids for sequence in sequences], pad_id, multiple),
        "text_mask": pad([[1] * len(sequence.ids) for sequence in sequences], 0, multiple),
        "token_type_ids": pad([sequence.types for sequence in sequences], 0, multiple),
    }


def _sequence(before: list[int], words: list[int], after: list[int]) -> TextSequence:
    ids = [*before, *words, *after]
    maskable = [False] * len(before) + [True] * len(words) + [False] * len(after)
    return TextSequence(ids, [0] * len(ids), maskable)
