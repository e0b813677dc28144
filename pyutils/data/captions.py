"""Training records of image-text retrieval: the captions of a split, one record each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyutils.data.records import CaptionRecord
from pyutils.errors import InputError


class CaptionTable(Sequence[CaptionRecord]):
    """The captions of a split, one record each: the records of an epoch of retrieval training.

    `images` has one record per image. Raises InputError for fewer than two images, which leave no wrong one.
    """

    def __init__(self, images: Sequence[CaptionRecord]) -> None:
        if len(images) < 2:
            raise InputError(f"retrieval training needs at least two images, found {len(images)}")
        self.images = images
        counts = np.array([len(record.captions) for record in images], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index):
        """The image of the caption at `index` (from 0) with this caption only."""
        if not 0 <= index < len(self):
            raise IndexError(f"caption {index} of {len(self)}")
        row = int(np.searchsorted(self._starts, index, side="right") - 1)
        record, number = self.images[row], int(index - self._starts[row])
        identifiers = record.caption_ids[number : number + 1]
        return CaptionRecord(record.image, (record.captions[number],), record.image_id, identifiers)


def identities(images: Sequence[str]) -> np.ndarray:
    """Number equal images of a batch alike, `[b]` int64: their captions are right for one another."""
    return np.unique(np.asarray(images), return_inverse=True)[1].reshape(-1).astype(np.int64)
