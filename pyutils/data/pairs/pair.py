"""An image-text pair, the interface of every collection of pairs, and the encoding of their parts."""

from __future__ import annotations

import io
import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from pyutils.data.features.folder import load_npz, regions_of_arrays
from pyutils.data.features.spec import RegionFeatures
from pyutils.errors import InputError


@dataclass(frozen=True)
class Pair:
    """An image and its captions (at least one).

    `image` is its key. `content` is the image file, `regions` are its region features; each is None where the
    collection does not hold it.
    """

    image: str
    captions: tuple[str, ...]
    content: Optional[bytes] = None
    regions: Optional[RegionFeatures] = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The captions."""
        return self.captions


class PairSource(Sequence[Pair]):
    """A sequence of pairs, cheap to send to a data worker. `pairs[i]` reads one pair from disk."""

    @abstractmethod
    def captions(self, index: int) -> tuple[str, ...]:
        """Read the captions of a pair, but not its image."""


def decode_regions(content: bytes, where: str) -> RegionFeatures:
    """Decode the region features of an `.npz`: features [n, d], boxes [n, 4] (left, top, right, bottom in pixels),
    image_w and image_h, optionally cls_prob [n, classes].

    Raises:
        InputError: anything else; the message names `where`.
    """
    arrays = load_npz(io.BytesIO(content), where)
    missing = [name for name in ("features", "boxes", "image_w", "image_h") if name not in arrays]
    if missing:
        raise InputError(f"{where}: lacks {missing[0]!r}; found {', '.join(arrays) or 'nothing'}")
    arrays = {name: array.astype(np.float32) if array.ndim == 2 else array for name, array in arrays.items()}
    features, boxes, probs = arrays["features"], arrays["boxes"], arrays.get("cls_prob")
    if boxes.shape != (len(features), 4) or (probs is not None and len(probs) != len(features)):
        raise InputError(f"{where}: features {features.shape}, boxes {boxes.shape} and cls_prob have different lengths")
    return regions_of_arrays(arrays, where)


def encode_regions(regions: RegionFeatures, dtype: str = "float16") -> bytes:
    """Invert `decode_regions`; features and class probabilities are stored as `dtype`."""
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
    """Read "caption" of a JSON object: a text or a list of texts. Raises InputError for anything else."""
    try:
        entry = json.loads(content)
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON: {error}") from error
    found = entry.get("caption") if isinstance(entry, dict) else None
    texts = (found,) if isinstance(found, str) else tuple(found) if isinstance(found, list) else ()
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f'{where}: expected an object with "caption", a text or a list of texts')
    return texts
