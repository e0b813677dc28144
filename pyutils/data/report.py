"""What a training is about to learn from, known from its records alone: refused or logged before the first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyutils.data.records import CaptionRecord, Record
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.text.tokenizer import WordPiece

_SAMPLED = 10_000
_MANY_UNKNOWN = 0.05
_SHOWN = 60


def describe_texts(
    records: Sequence[Any], tokenizer: WordPiece, is_cut: Callable[[str, int], bool], split: str
) -> list[str]:
    """Return lines about the texts of up to 10,000 evenly spaced records, each with `texts`: unknown words, cut texts.

    `is_cut(text, pieces)`: does a text of so many word pieces lose its end? Raises InputError if every word is unknown.
    """
    rows = np.unique(np.linspace(0, len(records) - 1, min(len(records), _SAMPLED)).round().astype(int)).tolist()
    texts = [text for row in rows for text in records[row].texts]
    encoded = tokenizer.encode_batch(texts)
    pieces = sum(map(len, encoded))
    unknown = sum(ids.count(tokenizer.unk) for ids in encoded)
    if not texts or not pieces:
        return []
    if unknown == pieces:
        raise InputError(
            f"split {split!r}: every word is unknown to {tokenizer.path}, e.g. {texts[0][:_SHOWN]!r}; use a "
            "vocabulary (and weights) of the texts' language"
        )
    cut = sum(is_cut(text, len(ids)) for text, ids in zip(texts, encoded))
    line = (
        f"split {split!r}: {unknown / pieces:.1%} of the word pieces are [UNK], {cut / len(texts):.1%} of the texts "
        f"lose their end ({len(texts)} texts looked at)"
    )
    return [f"warning: {line}" if unknown > _MANY_UNKNOWN * pieces or 2 * cut > len(texts) else line]


def describe_images(records: Sequence[Any], split: str) -> list[str]:
    """Return lines about the images of a table of records: how many there are, and image ids that several share."""
    if not isinstance(records, RecordTable):
        return []
    fields = records.cls.image_fields
    images = sum(1 for _ in records.distinct(*fields))
    lines = [f"split {split!r}: {len(records)} records, {images} distinct images"]
    if images == 1 and len(records) > 1:
        lines[0] = f"warning: {lines[0]}"
    if records.cls is CaptionRecord:
        ids = len(set(map(str, records.column("image_id"))))
        if ids < images:
            lines.append(
                f"warning: split {split!r}: {images} images share {ids} image_ids: captions of different images with "
                "one id count as right for each other"
            )
    return lines


def first_unlabelled(records: Sequence[Record]) -> str:
    """Return the identifier of the first record without label and how many there are; "" if there is none."""
    missing, first = 0, ""
    for record in records:
        if not record.labelled:
            first = first or record.identity
            missing += 1
    return f"{first} ({missing} of {len(records)})" if missing else ""
