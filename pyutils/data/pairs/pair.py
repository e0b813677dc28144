"""One image-text pair, and what every collection of them offers."""

from __future__ import annotations

import io
import json
import zipfile
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from pyutils.data.features.spec import RegionFeatures
from pyutils.errors import InputError


@dataclass(frozen=True)
class Pair:
    """A picture and its captions (at least one).

    `image` is its key. `content` is the picture's file, `regions` are its region features, where the collection brings
    them; None where only the key tells which picture it is.
    """

    image: str
    captions: tuple[str, ...]
    content: Optional[bytes] = None
    regions: Optional[RegionFeatures] = None


class PairSource(Sequence[Pair]):
    """A sequence of pairs, cheap to send to a data worker. `pairs[i]` reads one pair from disk."""

    @property
    @abstractmethod
    def shard_starts(self) -> np.ndarray:
        """[shards + 1] int64: the first pair of each shard, then the number of pairs."""

    @abstractmethod
    def captions(self, index: int) -> tuple[str, ...]:
        """The captions of a pair alone, without reading its picture."""


def decode_regions(content: bytes, where: str) -> RegionFeatures:
    """Region features of an `.npz`: features [n, d], boxes [n, 4] (left, top, right, bottom in pixels), image_w and
    image_h, optionally cls_prob [n, classes]. InputError naming `where` for anything else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise InputError(f"{where}: cannot be read as an npz of region features: {error}") from error
    missing = [name for name in ("features", "boxes", "image_w", "image_h") if name not in arrays]
    if missing:
        raise InputError(f"{where}: lacks {missing[0]!r}; found {', '.join(arrays) or 'nothing'}")
    features, boxes, probs = arrays["features"], arrays["boxes"], arrays.get("cls_prob")
    if features.ndim != 2 or boxes.shape != (len(features), 4) or (probs is not None and len(probs) != len(features)):
        raise InputError(f"{where}: features {features.shape}, boxes {boxes.shape} and cls_prob do not fit together")
    return RegionFeatures(
        features.astype(np.float32),
        boxes.astype(np.float32),
        int(arrays["image_w"]),
        int(arrays["image_h"]),
        None if probs is None else probs.astype(np.float32),
    )


def encode_regions(regions: RegionFeatures, dtype: str = "float16") -> bytes:
    """The inverse of `decode_regions`; features and class distributions are stored as `dtype`."""
    arrays = {
        "features": regions.features.astype(dtype),
        "boxes": np.zeros((len(regions), 4), np.float32) if regions.boxes is None else regions.boxes,
        "image_w": np.int64(regions.width),
        "image_h": np.int64(regions.height),
    }
    if regions.class_probs is not None:
        arrays["cls_prob"] = regions.class_probs.astype(dtype)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def captions_of_json(content: bytes, where: str) -> tuple[str, ...]:
    """ "caption" of a JSON object, a text or a list of them. InputError naming `where` for anything else."""
    try:
        entry = json.loads(content)
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON: {error}") from error
    found = entry.get("caption") if isinstance(entry, dict) else None
    texts = (found,) if isinstance(found, str) else tuple(found) if isinstance(found, list) else ()
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f'{where}: expected an object with "caption", a text or a list of texts')
    return texts
