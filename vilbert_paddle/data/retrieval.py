"""Caption-based image retrieval (ViLBERT, arXiv 1908.02265, section 4.1).

Training is four-way: the right pair, and pairs with a random caption, with a random image, and with the caption of a
similar image. Every image of a batch is read and sent to the device once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

import numpy as np

from pyutils.data.captions import CaptionTable
from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields, image_key, read_json_lines
from pyutils.text import sequences
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.data.hard_negatives import HardNegatives, canonical, most_similar, unit
from vilbert_paddle.data.regions import RegionReader, region_arrays
from vilbert_paddle.data.texts import choice_batch

CHOICES = 4
_TRIES = 64


def read_caption_lines(path: Path) -> RecordTable[CaptionRecord]:
    """Read the original's JSON lines (`all_data_final_train_2014.jsonline`).

    Returns one record per image with all its captions, in the order of the file; `image` is the key of `img_path`.

    Raises:
        InputError: a line without `id`, `img_path` or captions, or an empty file.
    """
    records = RecordTable(CaptionRecord, _caption_records(path))
    if not len(records):
        raise InputError(f"{path}: no line with captions; expected one image per line")
    return records


def _caption_records(path: Path) -> Iterator[CaptionRecord]:
    for where, entry in read_json_lines(path):
        check_fields(entry, ("id", "img_path", "sentences"), where)
        captions = entry["sentences"]
        if not isinstance(captions, list) or not captions or not all(isinstance(text, str) for text in captions):
            raise InputError(f"{where}: sentences is {captions!r}, expected a list of captions")
        yield CaptionRecord(image_key(str(entry["img_path"])), tuple(captions), entry["id"])


class RetrievalCaptions(CaptionTable):
    """Captions of a training split, with the draws and look-ups of four-way training."""

    def __init__(self, images: Sequence[CaptionRecord]) -> None:
        super().__init__(images)
        self._rows = {canonical(record.image): row for row, record in enumerate(images)}

    def other(self, image: str, rng: np.random.Generator) -> CaptionRecord:
        """Draw an image that is not `image`."""
        for _ in range(_TRIES):
            record = self.images[int(rng.integers(len(self.images)))]
            if record.image != image:
                return record
        raise InputError(f"no image but '{image}' was found in {_TRIES} draws: the list repeats one image")

    def find(self, image: str) -> Optional[CaptionRecord]:
        """The record of an image, None when it is not in the table."""
        row = self._rows.get(canonical(image))
        return None if row is None else self.images[row]


def four_way_batch(
    records: Sequence[CaptionRecord],
    tokenizer: WordPiece,
    reader: RegionReader,
    max_text: int,
    table: RetrievalCaptions,
    rng: np.random.Generator,
    hard: Optional[HardNegatives] = None,
) -> dict[str, np.ndarray]:
    """Collate four pairs per record, the right one first.

    Texts are [b, 4, t]: the caption, a random other caption, the caption again, a hard wrong caption. Region arrays are
    [u, r, …] of u = 2 b images and `image_rows` [b, 4] int64 says which row goes with which text: the record's own, and
    the random other one in the third pair. `features[image_rows]` is the original's [b, 4, r, d]. `labels` [b] int64
    is 0.

    The hard caption is one of a similar image: drawn from `hard`; without an index, of the most similar image of this
    batch.
    """
    batch_size = len(records)
    randoms = [table.other(record.image, rng) for record in records]
    wrong = [table.other(record.image, rng) for record in records]
    regions = reader.read([record.image for record in records] + [record.image for record in wrong])
    similar = _similar(records, regions.features[:batch_size, 0], table, rng, hard)
    texts = []
    for record, random, close in zip(records, randoms, similar):
        own = record.captions[0]
        texts += [own, _one_of(random.captions, rng), own, _one_of(close.captions, rng)]
    words = [sequences.single(tokenizer, ids, max_text) for ids in tokenizer.encode_batch(texts, max_text)]
    batch = choice_batch(tokenizer, words, CHOICES, reader.inputs.multiple)
    batch.update(region_arrays(regions))
    batch["image_rows"] = np.arange(batch_size)[:, None] + np.array([0, 0, batch_size, 0])
    batch["labels"] = np.zeros(batch_size, dtype=np.int64)
    return batch


def _similar(
    records: Sequence[CaptionRecord],
    means: np.ndarray,
    table: RetrievalCaptions,
    rng: np.random.Generator,
    hard: Optional[HardNegatives],
) -> list[CaptionRecord]:
    """Choose a similar image for each record; a random one where neither the index nor the batch has any."""
    images = [record.image for record in records]
    if hard is not None:
        drawn = [hard.draw(image, rng) if image in hard else "" for image in images]
    else:
        order = most_similar(unit(means), unit(means), np.arange(len(images)), len(images) - 1)
        drawn = [next((images[j] for j in row if images[j] != image), "") for image, row in zip(images, order)]
    return [(table.find(close) if close else None) or table.other(image, rng) for image, close in zip(images, drawn)]


def _one_of(captions: Sequence[str], rng: np.random.Generator) -> str:
    return captions[int(rng.integers(len(captions)))]
