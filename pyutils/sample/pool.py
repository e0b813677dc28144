"""Images of the world by source (COCO, Flickr30k, NLVR2, VCR, Conceptual Captions), drawn, named and detected."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from pyutils.data.features.spec import RegionFeatures
from pyutils.sample.detections import DETECTOR, PROVENANCE, detect, true_regions
from pyutils.sample.language import Caption, captions
from pyutils.sample.region_files import write_lmdb, write_npy, write_npz, write_spec
from pyutils.sample.scenes import Concepts, Scene, compose, draw

# Fraction of the images that become the second and the third split of a source.
_HELD_OUT = 0.15
_PAIRS_IN_SET = 4


@dataclass(frozen=True)
class SampleImage:
    """A drawn image: `name` is the image key, `path` its file below the pool's folder."""

    image_id: int
    name: str
    split: str
    path: str
    scene: Scene
    captions: tuple[Caption, ...]


@dataclass
class Pool:
    """The images of one source and their regions, by name; image files are below `folder`."""

    folder: Path
    images: list[SampleImage] = field(default_factory=list)
    detected: dict[str, RegionFeatures] = field(default_factory=dict)
    true: dict[str, RegionFeatures] = field(default_factory=dict)

    def split(self, name: str) -> list[SampleImage]:
        """The images of one split in order."""
        return [image for image in self.images if image.split == name]


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A random generator for one purpose: parts can be left out without changing the others."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def make_pool(source: str, output: Path, scenes: int, seed: int, dimension: int, concepts: Concepts) -> Pool:
    """Compose, draw and detect the images of one source of `SOURCES`; write image and region files.

    Files depend on the arguments alone, byte for byte.
    """
    kind = SOURCES[source]
    pool = Pool(output / kind.folder)
    rng = generator(seed, source)
    for number, split in enumerate(_split_of_each(scenes, kind.splits, _PAIRS_IN_SET * 2 if source == "nlvr2" else 1)):
        scene = compose(rng, kind.crates and number % 2 == 0, concepts)
        path = kind.file(split, number)
        image = SampleImage(number + 1, Path(path).stem, split, path, scene, tuple(captions(scene, rng)))
        pool.images.append(image)
    shown = f"drawing {len(pool.images)} images of {source}"
    if not sys.stderr.isatty():
        print(shown, file=sys.stderr, flush=True)
    for image in tqdm(pool.images, shown, unit=" images", disable=None):
        file = pool.folder / image.path
        file.parent.mkdir(parents=True, exist_ok=True)
        options = {"quality": 92, "subsampling": 0} if file.suffix == ".jpg" else {}
        Image.fromarray(draw(image.scene)).save(file, **options)
        # Detect on the pixels of the file: JPEG changes them a little.
        with Image.open(file) as saved:
            pixels = np.asarray(saved.convert("RGB"))
        pool.detected[image.name] = detect(image.scene, pixels, rng, dimension)
        pool.true[image.name] = true_regions(image.scene, pixels, dimension)
    kind.write_features(pool, output)
    return pool


def _split_of_each(count: int, splits: tuple[str, ...], block: int) -> Iterator[str]:
    """The split of each image, the first split's ones first, in complete blocks of images."""
    blocks = max(count // block, len(splits))
    held_out = max(round(_HELD_OUT * blocks), 1)
    sizes = [blocks - held_out * (len(splits) - 1)] + [held_out] * (len(splits) - 1)
    for split, size in zip(splits, sizes):
        yield from [split] * (size * block)


def _coco_features(pool: Pool, output: Path) -> None:
    fixed = output / "X_COCO/data/detectron_fix_100"
    for split in ("train2014", "val2014", "test2015"):
        _folder(fixed / "fc6/vqa" / split, pool, split, npz=False)
        if split != "test2015":
            _folder(output / "X_COCO/data/detectron_fix_144" / split, pool, split, npz=True)
    _spec(fixed, pool)
    _spec(fixed / "fc6/vqa", pool)
    _databases(output, "coco", pool, pool.images, base64_too=True, true_too=True)


def _flickr_features(pool: Pool, output: Path) -> None:
    for split in ("train", "val", "test"):
        _folder(output / "X_FLICKR/data/detectron_fix_100" / split, pool, split, npz=False)
    _spec(output / "X_FLICKR/data/detectron_fix_100", pool)
    _databases(output, "flickr30k", pool, pool.images, base64_too=True)


def _nlvr2_features(pool: Pool, output: Path) -> None:
    for split in ("train", "dev", "test1"):
        _folder(output / "X_NLVR/data/detectron_fix_144" / split, pool, split, npz=True)
    _spec(output / "X_NLVR/data/detectron_fix_144", pool, class_probs=False)
    _databases(output, "nlvr2", pool, pool.images)


def _vcr_features(pool: Pool, output: Path) -> None:
    _databases(output, "vcr", pool, pool.images, true_too=True)


def _concap_features(pool: Pool, output: Path) -> None:
    for split in ("train", "valid"):
        _databases(output, f"concap_{split}", pool, pool.split(split))


def _folder(folder: Path, pool: Pool, split: str, npz: bool) -> None:
    folder.mkdir(parents=True)
    for image in pool.split(split):
        if npz:
            write_npz(folder, Path(image.path).name, pool.detected[image.name])
        else:
            write_npy(folder, image.name, pool.detected[image.name])
    _spec(folder, pool, class_probs=not npz)


def _databases(
    output: Path,
    source: str,
    pool: Pool,
    images: Sequence[SampleImage],
    base64_too: bool = False,
    true_too: bool = False,
) -> None:
    """Write `lmdb/SOURCE_array.lmdb` of the detections; optionally base64 values and the true boxes (`SOURCE_gt_…`)."""
    for kind, regions in (("", pool.detected), ("_gt", pool.true))[: 2 if true_too else 1]:
        # ViLBERT keys COCO images by number.
        entries = [(str(i.image_id) if source == "coco" else i.name, regions[i.name]) for i in images]
        for text in (False, True)[: 2 if base64_too else 1]:
            path = output / "lmdb" / f"{source}{kind}_{'base64' if text else 'array'}.lmdb"
            write_lmdb(path, entries, base64_text=text)
            _spec(path, pool, class_probs=not text)


def _spec(folder: Path, pool: Pool, class_probs: bool = True) -> None:
    dimension = next(iter(pool.detected.values())).features.shape[1]
    most = max(len(regions) for regions in (*pool.detected.values(), *pool.true.values()))
    write_spec(folder, DETECTOR, PROVENANCE, dimension, most, class_probs)


class Source(NamedTuple):
    """How a data set names its images: `file` gives the path below `folder` from split and number; the image key is
    its stem. `crates`: half of the scenes have a closed box."""

    folder: str
    splits: tuple[str, ...]
    file: Callable[[str, int], str]
    write_features: Callable[[Pool, Path], None]
    crates: bool = False


def _nlvr2_file(split: str, number: int) -> str:
    pair, side = divmod(number, 2)
    return f"{split}/{split}-{pair // _PAIRS_IN_SET}-{pair % _PAIRS_IN_SET}-img{side}.png"


SOURCES = {
    "coco": Source(
        "images/coco",
        ("train2014", "val2014", "test2015"),
        lambda split, number: f"{split}/COCO_{split}_{number + 1:012d}.jpg",
        _coco_features,
    ),
    "flickr30k": Source(
        "images/flickr30k",
        ("train", "val", "test"),
        lambda split, number: f"{1000092795 + 7919 * number}.jpg",
        _flickr_features,
        crates=True,
    ),
    "nlvr2": Source("images/nlvr2", ("train", "dev", "test1"), _nlvr2_file, _nlvr2_features),
    "vcr": Source(
        "vcr1images",
        ("train", "val", "test"),
        lambda split, number: f"drawn_{number // 50:04d}/drawn_{number // 50:04d}_{number % 50:02d}@0.jpg",
        _vcr_features,
    ),
    "concap": Source(
        "images/concap", ("train", "valid"), lambda split, number: f"{split}/{number + 1}.jpg", _concap_features
    ),
}
