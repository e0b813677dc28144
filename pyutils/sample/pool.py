"""Pictures of the world by source (COCO, Flickr30k, NLVR2, VCR, Conceptual Captions), drawn, named and detected."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from pyutils.sample.detections import DETECTOR, PROVENANCE, detect, true_regions
from pyutils.sample.language import Caption, captions
from pyutils.sample.region_files import Regions, write_lmdb, write_npy, write_npz, write_spec
from pyutils.sample.scenes import Concepts, Scene, compose, draw

# Share of the pictures that become the second and the third split of a source.
_HELD_OUT = 0.15
_PAIRS_IN_SET = 4


@dataclass(frozen=True)
class Picture:
    """A picture with its place: `name` is the image key, `path` its file below the pool's folder."""

    image_id: int
    name: str
    split: str
    path: str
    scene: Scene
    captions: tuple[Caption, ...]


@dataclass
class Pool:
    """The pictures of one source and their regions, by name; files lie below `folder`."""

    folder: Path
    pictures: list[Picture] = field(default_factory=list)
    detected: dict[str, Regions] = field(default_factory=dict)
    true: dict[str, Regions] = field(default_factory=dict)

    def split(self, name: str) -> list[Picture]:
        """The pictures of one split in order."""
        return [picture for picture in self.pictures if picture.split == name]


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A random generator for one purpose: parts can be left out without changing the others."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def make_pool(source: str, output: Path, scenes: int, seed: int, dimension: int, concepts: Concepts) -> Pool:
    """Compose, draw and detect the pictures of one source of `SOURCES`, and write pictures and region files.

    Files depend on the arguments alone, byte for byte.
    """
    names, splits, folder, suffix, crate = SOURCES[source]
    pool = Pool(output / folder)
    rng = generator(seed, source)
    for number, split in enumerate(_split_of_each(scenes, splits, _PAIRS_IN_SET * 2 if source == "nlvr2" else 1)):
        scene = compose(rng, crate and number % 2 == 0, concepts)
        name, path = names(split, number)
        pool.pictures.append(Picture(number + 1, name, split, path + suffix, scene, tuple(captions(scene, rng))))
    for picture in pool.pictures:
        pixels = draw(picture.scene)
        _save(pool.folder / picture.path, pixels)
        # What is detected is what the file holds: JPEG changes the pixels a little.
        with Image.open(pool.folder / picture.path) as saved:
            pixels = np.asarray(saved.convert("RGB"))
        pool.detected[picture.name] = detect(picture.scene, pixels, rng, dimension)
        pool.true[picture.name] = true_regions(picture.scene, pixels, dimension)
    _FEATURES[source](pool, output)
    return pool


def _split_of_each(count: int, splits: tuple[str, ...], block: int) -> Iterator[str]:
    """The split of each picture, the first split's ones first, in whole blocks of pictures."""
    blocks = max(count // block, len(splits))
    held_out = max(round(_HELD_OUT * blocks), 1)
    sizes = [blocks - held_out * (len(splits) - 1)] + [held_out] * (len(splits) - 1)
    for split, size in zip(splits, sizes):
        yield from [split] * (size * block)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 92, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(pixels).save(path, **options)


def _coco_name(split: str, number: int) -> tuple[str, str]:
    name = f"COCO_{split}_{number + 1:012d}"
    return name, f"{split}/{name}"


def _flickr_name(split: str, number: int) -> tuple[str, str]:
    name = str(1000092795 + 7919 * number)
    return name, name


def _nlvr2_name(split: str, number: int) -> tuple[str, str]:
    pair, side = divmod(number, 2)
    name = f"{split}-{pair // _PAIRS_IN_SET}-{pair % _PAIRS_IN_SET}-img{side}"
    return name, f"{split}/{name}"


def _vcr_name(split: str, number: int) -> tuple[str, str]:
    name = f"drawn_{number // 50:04d}_{number % 50:02d}@0"
    return name, f"drawn_{number // 50:04d}/{name}"


def _concap_name(split: str, number: int) -> tuple[str, str]:
    return str(number + 1), f"{split}/{number + 1}"


# Naming, splits, picture folder, file ending, whether half of the scenes hold a closed box.
SOURCES = {
    "coco": (_coco_name, ("train2014", "val2014", "test2015"), "images/coco", ".jpg", False),
    "flickr30k": (_flickr_name, ("train", "val", "test"), "images/flickr30k", ".jpg", True),
    "nlvr2": (_nlvr2_name, ("train", "dev", "test1"), "images/nlvr2", ".png", False),
    "vcr": (_vcr_name, ("train", "val", "test"), "vcr1images", ".jpg", False),
    "concap": (_concap_name, ("train", "valid"), "images/concap", ".jpg", False),
}


def _coco_features(pool: Pool, output: Path) -> None:
    fixed = output / "X_COCO/data/detectron_fix_100"
    for split in ("train2014", "val2014", "test2015"):
        _folder(fixed / "fc6/vqa" / split, pool, split, npz=False)
        if split != "test2015":
            _folder(output / "X_COCO/data/detectron_fix_144" / split, pool, split, npz=True)
    _spec(fixed, pool)
    _spec(fixed / "fc6/vqa", pool)
    # ViLBERT keys COCO pictures by number.
    keys = {picture.name: str(picture.image_id) for picture in pool.pictures}
    _databases(output / "lmdb", "coco", pool, keys, base64_too=True, true_too=True)


def _flickr_features(pool: Pool, output: Path) -> None:
    keys = {picture.name: picture.name for picture in pool.pictures}
    for split in ("train", "val", "test"):
        _folder(output / "X_FLICKR/data/detectron_fix_100" / split, pool, split, npz=False)
    _spec(output / "X_FLICKR/data/detectron_fix_100", pool)
    _databases(output / "lmdb", "flickr30k", pool, keys, base64_too=True, true_too=False)


def _nlvr2_features(pool: Pool, output: Path) -> None:
    for split in ("train", "dev", "test1"):
        _folder(output / "X_NLVR/data/detectron_fix_144" / split, pool, split, npz=True)
    _spec(output / "X_NLVR/data/detectron_fix_144", pool, class_probs=False)
    keys = {picture.name: picture.name for picture in pool.pictures}
    _databases(output / "lmdb", "nlvr2", pool, keys, base64_too=False, true_too=False)


def _vcr_features(pool: Pool, output: Path) -> None:
    keys = {picture.name: picture.name for picture in pool.pictures}
    _databases(output / "lmdb", "vcr", pool, keys, base64_too=False, true_too=True)


def _concap_features(pool: Pool, output: Path) -> None:
    for split in ("train", "valid"):
        keys = {picture.name: picture.name for picture in pool.split(split)}
        _databases(output / "lmdb", f"concap_{split}", pool, keys, base64_too=False, true_too=False)


_FEATURES = {
    "coco": _coco_features,
    "flickr30k": _flickr_features,
    "nlvr2": _nlvr2_features,
    "vcr": _vcr_features,
    "concap": _concap_features,
}


def _folder(folder: Path, pool: Pool, split: str, npz: bool) -> None:
    folder.mkdir(parents=True)
    for picture in pool.split(split):
        if npz:
            write_npz(folder, Path(picture.path).name, pool.detected[picture.name])
        else:
            write_npy(folder, picture.name, pool.detected[picture.name])
    _spec(folder, pool, class_probs=not npz)


def _databases(folder: Path, source: str, pool: Pool, keys: dict[str, str], base64_too: bool, true_too: bool) -> None:
    """`SOURCE_array.lmdb` of the detections, and as asked for base64 values and the true boxes (`SOURCE_gt_…`)."""
    kinds = [("", pool.detected), ("_gt", pool.true)] if true_too else [("", pool.detected)]
    for kind, regions in kinds:
        entries = [(key, regions[name]) for name, key in keys.items()]
        for text in (False, True) if base64_too else (False,):
            path = folder / f"{source}{kind}_{'base64' if text else 'array'}.lmdb"
            write_lmdb(path, entries, base64_text=text)
            _spec(path, pool, class_probs=not text)


def _spec(folder: Path, pool: Pool, class_probs: bool = True) -> None:
    example = next(iter(pool.detected.values()))
    most = max(len(regions.boxes) for regions in (*pool.detected.values(), *pool.true.values()))
    probs = example.class_probs if class_probs else None
    shown = Regions(example.features, example.boxes, example.width, example.height, probs)
    write_spec(folder, DETECTOR, PROVENANCE, shown, max_regions=most)
