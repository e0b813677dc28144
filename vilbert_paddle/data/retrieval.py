"""Caption-based image retrieval (ViLBERT, arXiv 1908.02265, section 4.1).

Training is four-way: the right pair, and pairs with a random caption, with a random picture, and with the caption of a
similar picture. Only pictures that differ are read and sent to the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import numpy as np

from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.text import sequences
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.data.hard_negatives import HardNegatives, canonical, most_alike, unit
from vilbert_paddle.data.regions import RegionReader
from vilbert_paddle.data.texts import choice_batch, text_batch

CHOICES = 4
_TRIES = 64


class CaptionTable(Sequence[CaptionRecord]):
    """A table of pictures with captions as one record a caption: what an epoch of retrieval training runs through.

    `pictures` has one record a picture. Raises InputError for fewer than two pictures: there would be no wrong one.
    """

    def __init__(self, pictures: RecordTable[CaptionRecord]) -> None:
        if len(pictures) < 2:
            raise InputError(f"retrieval training needs at least two pictures, found {len(pictures)}")
        self.pictures = pictures
        counts = np.array([len(captions) for captions in pictures.column("captions")], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._rows = {canonical(image): row for row, image in enumerate(pictures.column("image"))}

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def owners(self) -> np.ndarray:
        """[captions] int64: which picture each caption belongs to."""
        return np.repeat(np.arange(len(self.pictures)), np.diff(self._starts))

    def __getitem__(self, index):
        """The record with its one caption at `index` (from 0)."""
        if not 0 <= index < len(self):
            raise IndexError(f"caption {index} of {len(self)}")
        row = int(np.searchsorted(self._starts, index, side="right") - 1)
        record = self.pictures[row]
        place = int(index - self._starts[row])
        identifiers = record.caption_ids[place : place + 1]
        return CaptionRecord(record.image, (record.captions[place],), record.image_id, identifiers)

    def other(self, image: str, rng: np.random.Generator) -> CaptionRecord:
        """A random picture that is not `image`."""
        for _ in range(_TRIES):
            record = self.pictures[int(rng.integers(len(self.pictures)))]
            if record.image != image:
                return record
        raise InputError(f"no picture but '{image}' was found in {_TRIES} draws: the list repeats one picture")

    def find(self, image: str) -> Optional[CaptionRecord]:
        """The record of a picture, None when it is not in the table."""
        row = self._rows.get(canonical(image))
        return None if row is None else self.pictures[row]


def four_way_batch(
    records: Sequence[CaptionRecord],
    tokenizer: WordPiece,
    reader: RegionReader,
    max_text: int,
    table: CaptionTable,
    rng: np.random.Generator,
    hard: Optional[HardNegatives] = None,
) -> dict[str, np.ndarray]:
    """Four pairs a record, the right one first.

    Texts are [b, 4, t]: the caption, a random other caption, the caption again, a hard wrong caption. Region arrays are
    [u, r, …] of u = 2 b pictures and `pictures` [b, 4] int64 says which row goes with which text: the record's own,
    and the random other one in the third pair. `features[pictures]` is the original's [b, 4, r, d].
    `labels` [b] int64 is 0.

    The hard caption is one of a picture like the record's: drawn from `hard`; where there is no index, of the picture
    of this batch that is most alike.
    """
    batch_size = len(records)
    randoms = [table.other(record.image, rng) for record in records]
    wrong = [table.other(record.image, rng) for record in records]
    read = reader.read([record.image for record in records] + [record.image for record in wrong])
    alike = _alike(records, read.features[:batch_size, 0], table, rng, hard)
    texts = []
    for record, random, similar in zip(records, randoms, alike):
        own = record.captions[0]
        texts += [own, _one_of(random.captions, rng), own, _one_of(similar.captions, rng)]
    words = [sequences.single(tokenizer, ids, max_text) for ids in tokenizer.encode_batch(texts, max_text)]
    batch = choice_batch(tokenizer, words, CHOICES, reader.inputs.multiple)
    batch.update(read.arrays())
    batch["pictures"] = np.arange(batch_size)[:, None] + np.array([0, 0, batch_size, 0])
    batch["labels"] = np.zeros(batch_size, dtype=np.int64)
    return batch


def caption_batch(
    captions: Sequence[str], tokenizer: WordPiece, max_text: int, multiple: int = 1
) -> dict[str, np.ndarray]:
    """Captions alone, to be scored against every picture: `input_ids`, `text_mask`, `token_type_ids` [b, t] int64."""
    return text_batch(tokenizer, captions, max_text, multiple)


def image_batch(records: Sequence[CaptionRecord], reader: RegionReader) -> dict[str, np.ndarray]:
    """Pictures alone: `region_features`, `region_mask`, `region_boxes` [b, r, …]."""
    return reader.read([record.image for record in records]).arrays()


def _alike(
    records: Sequence[CaptionRecord],
    means: np.ndarray,
    table: CaptionTable,
    rng: np.random.Generator,
    hard: Optional[HardNegatives],
) -> list[CaptionRecord]:
    """For each record a picture like it; a random one where neither the index nor the batch has any."""
    if hard is not None:
        drawn = [hard.draw(r.image, rng) if r.image in hard else "" for r in records]
    else:
        drawn = _alike_in_batch([record.image for record in records], means)
    return [
        (table.find(image) if image else None) or table.other(record.image, rng)
        for record, image in zip(records, drawn)
    ]


def _alike_in_batch(images: Sequence[str], means: np.ndarray) -> list[str]:
    """The most similar other picture of the batch, "" where all are the same one."""
    order = most_alike(unit(means), unit(means), np.arange(len(images)), len(images) - 1)
    return [next((images[j] for j in row if images[j] != image), "") for image, row in zip(images, order)]


def _one_of(captions: Sequence[str], rng: np.random.Generator) -> str:
    return captions[int(rng.integers(len(captions)))]
