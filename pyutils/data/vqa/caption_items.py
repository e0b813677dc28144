"""COCO captions one by one, and the caption pairs of pre-training (VisualBERT, arXiv 1908.03557, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from pyutils.config import setting
from pyutils.data.annotations import coco_captions
from pyutils.data.annotations.fields import get_split
from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable, concat
from pyutils.data.vqa.annotations import read_imdb
from pyutils.errors import InputError
from pyutils.formats.json_files import image_key

# Draws a random number from 0 to n - 1, given n.
DrawInteger = Callable[[int], int]


@dataclass(frozen=True)
class CaptionFiles:
    """One part of a split of captions. The imdb files list the images of minival, as the authors split COCO."""

    captions: str = setting("", "captions_*.json, relative to `coco.root`.")
    only_images_of: str = setting("", "imdb_*.npy: take its images only.")
    without_images_of: str = setting("", "imdb_*.npy: leave its images out.")


@dataclass(frozen=True)
class CaptionsConfig:
    """The `coco:` section of a configuration."""

    root: str = setting("~/.paddlenlp/datasets/COCOCaptions", "Folder that the paths below are relative to.")
    splits: dict[str, list[CaptionFiles]] = setting({}, "Split name -> its parts, read one after the other.")


def read_split(config: CaptionsConfig, name: str) -> RecordTable[CaptionRecord]:
    """Read the images of split `name` with their captions. InputError if it is not configured or is empty."""
    root = Path(config.root).expanduser()
    parts = [_read_part(root, part) for part in get_split(config.splits, name, "coco.splits")]
    if not any(map(len, parts)):
        raise InputError(f"coco.splits.{name}: no image with a caption")
    return concat(parts)


def _read_part(root: Path, part: CaptionFiles) -> RecordTable[CaptionRecord]:
    records = coco_captions.read(root / part.captions)
    images = records.column("image")
    for imdb, wanted in ((part.only_images_of, True), (part.without_images_of, False)):
        if imdb:
            listed = set(map(image_key, read_imdb(root / imdb).column("image")))
            kept = np.array([(image in listed) == wanted for image in images], dtype=bool)
            records, images = records.select(kept), images[kept]
    return records


@dataclass(frozen=True)
class CaptionItem:
    """One caption of an image; `siblings` are the image's other captions, `index` is its index in `items`."""

    image: str
    caption: str
    siblings: tuple[str, ...]
    index: int
    items: CaptionItems = field(repr=False, compare=False)

    @property
    def texts(self) -> tuple[str, ...]:
        """The caption."""
        return (self.caption,)


class CaptionItems(Sequence):
    """Every caption of `records` as a `CaptionItem`; `shown`, if given, are the same records with other images."""

    def __init__(self, records: RecordTable[CaptionRecord], shown: Optional[Sequence[CaptionRecord]] = None):
        self.images = records if shown is None else shown
        self._ends = np.cumsum([len(captions) for captions in records.column("captions")])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> CaptionItem:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(f"caption {index} of {len(self)}")
        row = int(np.searchsorted(self._ends, index, "right"))
        record: CaptionRecord = self.images[row]
        number = index - int(self._ends[row]) + len(record.captions)
        siblings = record.captions[:number] + record.captions[number + 1 :]
        return CaptionItem(record.image, record.captions[number], siblings, index, self)


class Captions(NamedTuple):
    """The text paired with an image, one caption or two; `matches` if all describe it."""

    first: str
    second: Optional[str]
    matches: bool


def two_captions(item: CaptionItem, chance: float, integer: DrawInteger) -> Captions:
    """Pair the item's caption with another one of its image; if `chance` in [0, 1) is above 0.5, of another image.

    The second caption of an image with a single one is always of another image.
    """
    if chance > 0.5 or not item.siblings:
        return Captions(item.caption, _of_another_image(item, integer), False)
    return Captions(item.caption, item.siblings[integer(len(item.siblings))], True)


def one_caption(item: CaptionItem, chance: float, integer: DrawInteger, false_share: float = 0.5) -> Captions:
    """Take the item's caption; if `chance` in [0, 1) is below `false_share`, one of another image instead."""
    if chance < false_share:
        return Captions(_of_another_image(item, integer), None, False)
    return Captions(item.caption, None, True)


def _of_another_image(item: CaptionItem, integer: DrawInteger) -> str:
    if len(item.items.images) < 2:
        raise InputError("captions of a single image have no false partner: give more images, or train with MLM alone")
    while True:
        other = item.items[integer(len(item.items))]
        if other.image != item.image:
            return other.caption
