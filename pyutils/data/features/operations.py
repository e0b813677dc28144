"""Converting, checking and comparing collections of region features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pyutils.data.features.packed import DTYPES, PackedRegions, is_packed
from pyutils.data.features.packed_writer import PackedWriter
from pyutils.data.features.source import RegionSource
from pyutils.data.features.spec import RegionFeatures
from pyutils.errors import InputError

MISSING_NAMED = 5


def convert(
    source: RegionSource,
    destination: str | Path,
    dtype: str = "float16",
    detector: str | None = None,
    provenance: str | None = None,
    keys: Sequence[str] | None = None,
    progress: bool = False,
) -> int:
    """Write the images of `source` to the packed store `destination`; images that are in it already are left alone.

    An interrupted conversion goes on where it was when it is called again.

    Args:
        dtype: how features are stored; float16 halves the store and keeps three significant digits.
        detector, provenance: replace what the source says about itself.
        keys: the images to take; all when None.
        progress: show a progress bar.

    Returns:
        Number of images added.

    Raises:
        InputError: a key is not there, a broken entry, or a destination that holds something else.
    """
    if dtype not in DTYPES:
        raise InputError(f"--dtype is '{dtype}', expected {' or '.join(DTYPES)}")
    if is_packed(Path(destination)) and Path(destination).resolve() == source.path.resolve():
        raise InputError(f"{destination} is the source itself: choose another folder")
    wanted = list(source.keys()) if keys is None else _present(source, keys)
    first = source[wanted[0]] if wanted else None
    spec = replace(
        source.spec,
        dtype=dtype,
        max_regions=None,
        detector=detector or source.spec.detector,
        provenance=provenance or source.spec.provenance or f"{source.format}: {source.path.name}",
    )
    classes = 0 if first is None or first.class_probs is None else first.class_probs.shape[1]
    with PackedWriter(destination, spec, classes) as writer:
        todo = [key for key in wanted if key not in writer]
        for key in _bar(todo, "convert", progress):
            writer.add(key, source[key])
    return len(todo)


def _present(source: RegionSource, keys: Sequence[str]) -> list[str]:
    """The source's own names of `keys`, each once. Raises InputError for absent ones."""
    positions = source.index.find(keys)
    absent = [key for key, position in zip(keys, positions) if position < 0]
    if absent:
        raise InputError(
            f"{source.path} has no features for {len(absent)} of {len(keys)} keys, among them "
            f"{', '.join(absent[:MISSING_NAMED])}"
        )
    return [source.index.name(position) for position in dict.fromkeys(positions.tolist())]


@dataclass
class Comparison:
    """How two collections differ."""

    common: int = 0
    """Images in both."""
    only_first: int = 0
    only_second: int = 0
    other_shape: int = 0
    """Images with another number of regions or another dimension."""
    feature_difference: float = 0.0
    """Largest absolute difference of a feature value."""
    box_difference: float = 0.0
    """Largest absolute difference of a box coordinate, in pixels."""
    other_size: int = 0
    """Images whose width or height differs."""
    worst: str = ""
    """Key of the image with the largest feature difference."""

    def same(self, tolerance: float) -> bool:
        """Whether both hold the same images, with values no further apart than `tolerance`."""
        counted = self.only_first + self.only_second + self.other_shape + self.other_size
        return counted == 0 and max(self.feature_difference, self.box_difference) <= tolerance


def compare(first: RegionSource, second: RegionSource, progress: bool = False) -> Comparison:
    """Read both collections and measure where they differ; images are matched as `KeyIndex` finds them."""
    names = list(first.keys())
    positions = second.index.find(names)
    result = Comparison(only_first=int((positions < 0).sum()))
    result.common = len(names) - result.only_first
    result.only_second = len(second) - len(np.unique(positions[positions >= 0]))
    for name, position in _bar(list(zip(names, positions.tolist())), "compare", progress):
        if position >= 0:
            _compare_one(result, name, first[name], second[second.index.name(position)])
    return result


def _compare_one(result: Comparison, key: str, left: RegionFeatures, right: RegionFeatures) -> None:
    """Add one image to the result."""
    result.other_size += (left.width, left.height) != (right.width, right.height)
    if left.features.shape != right.features.shape:
        result.other_shape += 1
        return
    difference = float(np.abs(left.features - right.features).max(initial=0.0))
    if difference > result.feature_difference or np.isnan(difference):
        result.feature_difference, result.worst = difference, key
    if left.boxes is not None and right.boxes is not None:
        result.box_difference = max(result.box_difference, float(np.abs(left.boxes - right.boxes).max(initial=0.0)))


def find_damage(source: RegionSource, progress: bool = False) -> list[tuple[str, str]]:
    """(key, what is wrong) of every image that cannot be read, does not fit the spec, or fails its checksum.

    Only packed stores carry checksums; the entries of other formats are decoded and their shapes checked.
    """
    found = []
    dimension = source.spec.dimension  # read first: a damaged header is an error of its own, not one of every image
    for key in _bar(list(source.keys()), "verify", progress):
        try:
            if isinstance(source, PackedRegions):
                source.check_record(key)
            if source[key].features.shape[1] != dimension:
                found.append((key, f"not {dimension}-d"))
        except InputError as error:
            found.append((key, str(error)))
    return found


def summary(source: RegionSource) -> list[tuple[str, str]]:
    """What there is to say about a collection without reading its features, as (name, value) rows."""
    spec = source.spec
    rows = [
        ("path", str(source.path)),
        ("format", source.format),
        ("images", f"{len(source):,}"),
        ("dimension", str(spec.dimension)),
        ("stored as", spec.dtype),
        ("boxes", spec.box_format),
        ("class probabilities", "yes" if spec.has_class_probs else "no"),
        ("detector", spec.detector),
        ("largest number of regions", "unknown" if spec.max_regions is None else str(spec.max_regions)),
        ("provenance", spec.provenance or "unknown"),
    ]
    if isinstance(source, PackedRegions):
        regions = source.committed.numbers["regions"]
        rows += [
            ("regions", f"{int(regions.sum()):,} (mean {regions.mean() if len(regions) else 0:.1f} an image)"),
            ("size", f"{source.committed.data_bytes / 2**20:,.1f} MiB"),
            ("complete", "yes" if source.committed.complete else "no: writing was interrupted, run it again to go on"),
        ]
    return rows


def _bar(items: Sequence, what: str, show: bool) -> Iterable:
    """`items`, with a progress bar when asked for and on a terminal."""
    if not show:
        return items
    from tqdm import tqdm

    return tqdm(items, desc=what, unit=" images", disable=None)
