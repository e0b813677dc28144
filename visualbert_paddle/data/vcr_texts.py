"""VCR's texts for VisualBERT, and the alignment of their words with regions (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pyutils.data.records import BoxXYXY, TaggedText
from pyutils.text import sequences
from pyutils.text.sequences import TextSequence, truncate_pair
from pyutils.text.tokenizer import WordPiece
from visualbert_paddle.data.regions import overlaps

_LEAST_IOU = 0.5
NOTHING = -1


class Piece(NamedTuple):
    """A word piece and the object it names (`NOTHING` for an ordinary word)."""

    id: int
    object: int


class ChoiceText(NamedTuple):
    """One choice with its question: the sequence, and the object of each position `[t]` (`NOTHING` for most)."""

    sequence: TextSequence
    objects: list[int]


def pieces(tokenizer: WordPiece, text: TaggedText, names: Sequence[str]) -> list[Piece]:
    """The word pieces of `text`; a tag becomes the names of its objects, whose pieces belong to the object."""
    words, owners = [], []
    for word, tags in zip(text.words, text.objects):
        words += [names[number] for number in tags] if tags else [word]
        owners += list(tags) if tags else [NOTHING]
    encoded = tokenizer.encode_batch(words)
    return [Piece(number, owner) for ids, owner in zip(encoded, owners) for number in ids]


def choice_text(
    tokenizer: WordPiece, question: Sequence[Piece], choice: Sequence[Piece], max_length: int
) -> ChoiceText:
    """`[CLS] question [SEP] choice [SEP]` of at most `max_length` positions; the longer text is cut first."""
    first, second = truncate_pair(question, choice, max_length)
    sequence = sequences.pair(tokenizer, [p.id for p in first], [p.id for p in second], max_length)
    objects = [NOTHING, *(p.object for p in first), NOTHING, *(p.object for p in second), NOTHING]
    return ChoiceText(sequence, objects)


def regions_of_objects(
    object_boxes: Sequence[BoxXYXY], size: tuple[int, int], boxes: np.ndarray, boxes_size: Sequence[int]
) -> np.ndarray:
    """The region of each object `[k]` int64: the one that overlaps it most, `NOTHING` below an IoU of 0.5.

    Arguments as in `overlaps`.
    """
    if not object_boxes or not len(boxes):
        return np.full(len(object_boxes), NOTHING, dtype=np.int64)
    ious = overlaps(object_boxes, size, boxes, boxes_size)
    best = ious.argmax(axis=1)
    return np.where(ious[np.arange(len(best)), best] >= _LEAST_IOU, best, NOTHING)


def alignment(choices: Sequence[ChoiceText], region_of: np.ndarray) -> list[dict[int, list[int]]]:
    """For each choice, region -> positions of the words that name it."""
    found: list[dict[int, list[int]]] = []
    for choice in choices:
        words: dict[int, list[int]] = {}
        for position, number in enumerate(choice.objects):
            if number != NOTHING and region_of[number] != NOTHING:
                words.setdefault(int(region_of[number]), []).append(position)
        found.append(words)
    return found


def alignment_array(aligned: Sequence[dict[int, list[int]]], regions: int) -> np.ndarray:
    """`[n, regions, a]` int64 word positions of each region, -1 = none; a is the longest list's length, at least 1."""
    longest = max((len(positions) for words in aligned for positions in words.values()), default=1)
    array = np.full((len(aligned), regions, longest), NOTHING, dtype=np.int64)
    for row, words in zip(array, aligned):
        for region, positions in words.items():
            row[region, : len(positions)] = positions
    return array
