"""Pictures that look alike: where retrieval training takes its hard wrong captions from."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Union

import numpy as np

from pyutils.data.features import RegionSource
from pyutils.data.features.keys import numeric_id, stem_of
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write
from pyutils.formats.safe_pickle import load

_BLOCK = 1024


class HardNegatives:
    """For each picture those most like it.

    `images` [n] are picture keys, `neighbours` [n, k] int32 positions in `images`, most alike first, without the
    picture itself. InputError when the two do not fit together.
    """

    def __init__(self, images: Sequence[str], neighbours: np.ndarray, source: str = "hard negatives") -> None:
        self.images = [str(image) for image in images]
        self.neighbours = np.asarray(neighbours)
        self._rows = {canonical(image): row for row, image in enumerate(self.images)}
        if self.neighbours.ndim != 2 or len(self.neighbours) != len(self.images) or not self.neighbours.size:
            raise InputError(f"{source}: {len(self.images)} pictures, but neighbours of shape {self.neighbours.shape}")
        if self.neighbours.dtype.kind not in "iu":
            raise InputError(f"{source}: neighbours are {self.neighbours.dtype}, expected positions of pictures (int)")
        if self.neighbours.min() < 0 or self.neighbours.max() >= len(self.images):
            raise InputError(f"{source}: a neighbour is not among the {len(self.images)} pictures")

    def __contains__(self, image: str) -> bool:
        return canonical(image) in self._rows

    def draw(self, image: str, rng: np.random.Generator) -> str:
        """One of the pictures most like `image`. KeyError for a picture that is not in the index."""
        row = self.neighbours[self._rows[canonical(image)]]
        return self.images[int(row[rng.integers(len(row))])]

    @classmethod
    def load(cls, path: Union[str, Path]) -> HardNegatives:
        """An `.npz` of `save`, or the original's `hard_negative.pkl` (its lists begin with the picture itself).

        Raises InputError when it is missing or of another kind.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise InputError(f"{path}: no such file; build one with HardNegatives.build, or leave the setting empty")
        if path.suffix == ".npz":
            return cls(*_arrays(path), str(path))
        content = load(path.read_bytes(), str(path))
        if not isinstance(content, dict) or not {"train_hard_pool", "train_image_list"} <= set(content):
            raise InputError(f"{path}: expected a pickled dict with train_hard_pool and train_image_list")
        try:
            pool = np.asarray(content["train_hard_pool"])[:, 1:]
            if pool.dtype.kind == "f" and (pool == np.floor(pool)).all():
                pool = pool.astype(np.int64)  # the original's script fills an array of float64
        except (ValueError, IndexError) as error:
            raise InputError(f"{path}: expected as many pictures in every row of train_hard_pool ({error})") from error
        return cls(content["train_image_list"], pool, str(path))

    def save(self, path: Union[str, Path]) -> None:
        """Write an `.npz`, whole or not at all."""
        with atomic_write(path, "wb") as stream:
            np.savez(stream, images=np.array(self.images), neighbours=self.neighbours)

    @classmethod
    def build(cls, source: RegionSource, images: Sequence[str], count: int = 100) -> HardNegatives:
        """The `count` pictures with the most similar mean region (cosine). Memory is one mean a picture, and blocks.

        Raises InputError for fewer than two pictures or one that is missing.
        """
        images = list(dict.fromkeys(images))
        if len(images) < 2:
            raise InputError(f"hard negatives need at least two pictures, found {len(images)}")
        means = np.concatenate(list(_means(source, images)))
        count = min(count, len(images) - 1)
        neighbours = np.empty((len(images), count), dtype=np.int32)
        for start in range(0, len(images), _BLOCK):
            own = np.arange(start, min(start + _BLOCK, len(images)))
            neighbours[own] = most_alike(means[own], means, own, count)
        return cls(images, neighbours)


def _arrays(path: Path) -> tuple[list[str], np.ndarray]:
    """Pictures and neighbours of an `.npz`. InputError naming the file when they cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["images"].tolist(), archive["neighbours"]
    except (OSError, EOFError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected an .npz with arrays images and neighbours ({error})") from error


def canonical(image: str) -> str:
    """One name for the forms in which an image is written: its COCO or Flickr30k number, else its file stem."""
    number = numeric_id(image)
    return stem_of(image) if number < 0 else str(number)


def most_alike(queries: np.ndarray, means: np.ndarray, own: np.ndarray, count: int) -> np.ndarray:
    """For each of `queries` [q, d] (unit length) the `count` rows of `means` [n, d] with the largest product, largest
    first, of equal ones the first; never row `own` [q] of it. [q, count] int64."""
    similarity = queries @ means.T
    similarity[np.arange(len(own)), own] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :count]


def unit(features: np.ndarray) -> np.ndarray:
    """Rows of `features` [n, d] scaled to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def _means(source: RegionSource, images: Sequence[str]) -> Iterator[np.ndarray]:
    for start in range(0, len(images), 64):
        yield unit(source.read_batch(images[start : start + 64], max_regions=0, global_region=True).features[:, 0])
