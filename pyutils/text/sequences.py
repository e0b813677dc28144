"""Word ids into the sequences that BERT-like encoders read, and sequences into padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from pyutils.errors import InputError
from pyutils.text.tokenizer import WordPiece
from pyutils.text.truncation import truncate, truncate_pair


@dataclass(frozen=True)
class TextSequence:
    """One encoded text: `ids` [t], `types` [t] (0, then 1 for a second text), `words` [t] true for what is no mark.

    `words` tells which positions masked language modelling may hide.
    """

    ids: list[int]
    types: list[int]
    words: list[bool]


def single(tokenizer: WordPiece, words: Sequence[int], max_length: int) -> TextSequence:
    """`[CLS] words [SEP]`, cut at the end to `max_length` positions."""
    kept = truncate(words, max_length)
    return _sequence([tokenizer.cls], kept, [tokenizer.sep])


def pair(
    tokenizer: WordPiece, first: Sequence[int], second: Sequence[int], max_length: int, rule: str = "longest_first"
) -> TextSequence:
    """`[CLS] first [SEP] second [SEP]`, cut by the named rule of `truncation.truncate_pair`; types 0, then 1."""
    first, second = truncate_pair(first, second, max_length, rule)
    left = _sequence([tokenizer.cls], first, [tokenizer.sep])
    right = _sequence([], second, [tokenizer.sep])
    return TextSequence(left.ids + right.ids, left.types + [1] * len(right.ids), left.words + right.words)


def question(tokenizer: WordPiece, text: str, max_length: int, answer: Optional[str] = None) -> TextSequence:
    """VisualBERT's VQA text: `[CLS] question ? [MASK] [SEP]`, or `[CLS] question ? answer [SEP]` with an `answer`.

    The classifier reads the state at [MASK], two before the end. Commas and question marks of the question go, as in
    the word lists that the published checkpoints were trained on, and one question mark is set. Only the question's
    words are cut to fit `max_length` positions, so that "? [MASK] [SEP]" always stands. Raises InputError when not
    even one word of the question has room.
    """
    tail = [tokenizer.mask] if answer is None else tokenizer.encode(answer)
    end = [tokenizer.id_of("?"), *tail, tokenizer.sep]
    room = max_length - 1 - len(end)
    if room < 1:
        raise InputError(
            f"a maximum text length of {max_length} has no room for a question before {len(end)} end words"
        )
    words = tokenizer.encode(text.replace(",", " ").replace("?", " "), max_words=room)
    hidden_too = end[:-1] if answer is not None else []
    fixed = end[len(hidden_too) :]
    return _sequence([tokenizer.cls], words + hidden_too, fixed)


def pad(rows: Sequence[Sequence[int]], value: int, multiple: int = 1) -> np.ndarray:
    """`rows` side by side, [b, t] int64: t is the longest row's length rounded up to `multiple`, gaps hold `value`."""
    longest = max((len(row) for row in rows), default=0)
    padded = np.full((len(rows), -(-longest // multiple) * multiple), value, dtype=np.int64)
    for target, row in zip(padded, rows):
        target[: len(row)] = row
    return padded


def batch(sequences: Sequence[TextSequence], pad_id: int, multiple: int = 1) -> dict[str, np.ndarray]:
    """The batch's text arrays, each [b, t] int64: `input_ids`, `text_mask` (1 for words and marks), `token_type_ids`
    (0 in the padding)."""
    return {
        "input_ids": pad([sequence.ids for sequence in sequences], pad_id, multiple),
        "text_mask": pad([[1] * len(sequence.ids) for sequence in sequences], 0, multiple),
        "token_type_ids": pad([sequence.types for sequence in sequences], 0, multiple),
    }


def word_positions(sequences: Sequence[TextSequence], multiple: int = 1) -> np.ndarray:
    """Which positions of `batch` hold words that may be hidden: [b, t] bool."""
    return pad([sequence.words for sequence in sequences], 0, multiple).astype(bool)


def _sequence(before: list[int], words: list[int], after: list[int]) -> TextSequence:
    ids = [*before, *words, *after]
    maskable = [False] * len(before) + [True] * len(words) + [False] * len(after)
    return TextSequence(ids, [0] * len(ids), maskable)
