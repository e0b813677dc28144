"""VCR's texts as VisualBERT reads them, and which of their words name which region (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pyutils.data.records import BoxXYXY, TaggedText
from pyutils.metrics.grounding import box_iou
from pyutils.text import sequences
from pyutils.text.sequences import TextSequence, truncate_pair
from pyutils.text.tokenizer import WordPiece

_LEAST_IOU = 0.5
NOTHING = -1


class Piece(NamedTuple):
    """A word piece and the object it stands for (`NOTHING` for an ordinary word)."""

    id: int
    object: int


class ChoiceText(NamedTuple):
    """One choice beside its question: the sequence, and the object of each position `[t]` (`NOTHING` for most)."""

    sequence: TextSequence
    objects: list[int]


def pieces(tokenizer: WordPiece, text: TaggedText, names: Sequence[str]) -> list[Piece]:
    """The word pieces of `text`; a tag is written as the names of its objects, each piece of a name standing for it."""
    words, owners = [], []
    for word, tags in zip(text.words, text.objects):
        words += [names[number] for number in tags] if tags else [word]
        owners += list(tags) if tags else [NOTHING]
    encoded = tokenizer.encode_batch(words)
    return [Piece(number, owner) for ids, owner in zip(encoded, owners) for number in ids]


def choice_text(
    tokenizer: WordPiece, question: Sequence[Piece], choice: Sequence[Piece], max_length: int
) -> ChoiceText:
    """`[CLS] question [SEP] choice [SEP]` of at most `max_length` positions, the longer text being cut first."""
    first, second = truncate_pair(question, choice, max_length)
    sequence = sequences.pair(tokenizer, [p.id for p in first], [p.id for p in second], max_length)
    objects = [NOTHING, *(p.object for p in first), NOTHING, *(p.object for p in second), NOTHING]
    return ChoiceText(sequence, objects)


def regions_of_objects(
    object_boxes: Sequence[BoxXYXY], size: tuple[int, int], boxes: np.ndarray, picture: Sequence[int]
) -> np.ndarray:
    """The region of each object `[k]` int64: the one that overlaps it most, `NOTHING` below an IoU of one half.

    `object_boxes` in pixels of a picture of `size` (width, height); `boxes` `[r, 4]` in pixels of one of `picture`
    (0, 0 where the features do not say: the same).
    """
    if not object_boxes or not len(boxes):
        return np.full(len(object_boxes), NOTHING, dtype=np.int64)
    scale = [new / old if new and old else 1.0 for new, old in zip(picture, size)]
    ious = box_iou(np.asarray(object_boxes, dtype=np.float64) * np.array(scale * 2), boxes.astype(np.float64))
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
    longest = max((len(places) for words in aligned for places in words.values()), default=1)
    array = np.full((len(aligned), regions, longest), NOTHING, dtype=np.int64)
    for row, words in zip(array, aligned):
        for region, places in words.items():
            row[region, : len(places)] = places
    return array
