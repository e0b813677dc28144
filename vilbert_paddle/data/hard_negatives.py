"""Similar images, whose captions are the hard negatives of retrieval training."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Union

import numpy as np

from pyutils.data.features import RegionSource
from pyutils.data.features.keys import numeric_id, stem_of
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write
from pyutils.formats.safe_pickle import load

_BLOCK = 1024
_READ_TOGETHER = 64


class HardNegatives:
    """The most similar images of each image.

    `images` [n] are image keys, `neighbours` [n, k] integer positions in `images`, most similar first, without the
    image itself. Raises InputError, naming `source`, when they do not fit.
    """

    def __init__(self, images: Sequence[str], neighbours: np.ndarray, source: str = "hard negatives") -> None:
        self.images = [str(image) for image in images]
        self.neighbours = np.asarray(neighbours)
        self._rows = {canonical(image): row for row, image in enumerate(self.images)}
        count, found = len(self.images), self.neighbours
        shaped = found.ndim == 2 and len(found) == count and found.size and found.dtype.kind in "iu"
        if not shaped or found.min() < 0 or found.max() >= count:
            raise InputError(
                f"{source}: expected for each of {count} images (at least two) positions of others, integers from 0 to "
                f"{count - 1}; found {found.dtype} of shape {found.shape}"
            )

    def __contains__(self, image: str) -> bool:
        return canonical(image) in self._rows

    def draw(self, image: str, rng: np.random.Generator) -> str:
        """Draw one of the images most similar to `image`. Raises KeyError for an image that is not in the index."""
        row = self.neighbours[self._rows[canonical(image)]]
        return self.images[int(row[rng.integers(len(row))])]

    @classmethod
    def load(cls, path: Union[str, Path]) -> HardNegatives:
        """Read an `.npz` of `save`, or the original's `hard_negative.pkl` (each list starts with the image itself).

        Raises:
            InputError: the file is missing, damaged or of another kind.
        """
        path = Path(path).expanduser()
        try:
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as archive:
                    return cls(archive["images"].tolist(), archive["neighbours"], str(path))
            content = load(path.read_bytes(), str(path))
            pool = np.asarray(content["train_hard_pool"])[:, 1:]
            if pool.dtype.kind == "f" and (pool == np.floor(pool)).all():
                pool = pool.astype(np.int64)  # the original's script fills an array of float64
            return cls(content["train_image_list"], pool, str(path))
        except InputError:
            raise
        except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: expected an .npz of HardNegatives.save with images and neighbours, or a pickled dict with "
                f"train_image_list and a rectangular train_hard_pool ({error})"
            ) from error

    def save(self, path: Union[str, Path]) -> None:
        """Write an `.npz` atomically."""
        with atomic_write(path, "wb") as stream:
            np.savez(stream, images=np.array(self.images), neighbours=self.neighbours)

    @classmethod
    def build(cls, source: RegionSource, images: Sequence[str], count: int = 100) -> HardNegatives:
        """Find the `count` images with the most similar mean region (cosine). Keeps one mean per image in memory.

        Raises:
            InputError: fewer than two images, or one that is missing.
        """
        images = list(dict.fromkeys(images))
        means = np.concatenate(
            [
                source.read_batch(images[start : start + _READ_TOGETHER], 0, global_region=True).features[:, 0]
                for start in range(0, len(images), _READ_TOGETHER)
            ]
        )
        means = unit(means)
        count = min(count, len(images) - 1)
        neighbours = np.empty((len(images), count), dtype=np.int32)
        for start in range(0, len(images), _BLOCK):
            own = np.arange(start, min(start + _BLOCK, len(images)))
            neighbours[own] = most_similar(means[own], means, own, count)
        return cls(images, neighbours)


def canonical(image: str) -> str:
    """Return one name for all spellings of an image key: its COCO or Flickr30k number, else its file stem."""
    number = numeric_id(image)
    return stem_of(image) if number < 0 else str(number)


def most_similar(queries: np.ndarray, means: np.ndarray, own: np.ndarray, count: int) -> np.ndarray:
    """Find the `count` rows of `means` [n, d] with the largest product for each of `queries` [q, d] (unit length).

    Returns [q, count] int64, largest first, the first of equal ones first, without row `own` [q].
    """
    similarity = queries @ means.T
    similarity[np.arange(len(own)), own] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :count]


def unit(features: np.ndarray) -> np.ndarray:
    """Scale the rows of `features` [n, d] to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)
