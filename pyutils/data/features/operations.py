"""Convert, check and compare collections of region features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pyutils.data.features.matching import Matches
from pyutils.data.features.packed import PackedRegions, PackedWriter, is_packed
from pyutils.data.features.source import RegionSource
from pyutils.data.features.spec import FeatureSpec, RegionFeatures, read_spec
from pyutils.errors import InputError

_MISSING_NAMED = 5
_IMAGES_COMPARED = 5


def convert_features(
    source: RegionSource,
    destination: str | Path,
    dtype: str = "float16",
    detector: str | None = None,
    provenance: str | None = None,
    keys: Sequence[str] | None = None,
) -> int:
    """Write the images of `source` to the packed store `destination`; images that it already has are kept.

    An interrupted conversion resumes when called again.

    Args:
        dtype: how features are stored; float16 halves the store and keeps three significant digits.
        detector, provenance: replace those of the source.
        keys: the images to convert; all when None.

    Returns:
        Number of images added.

    Raises:
        InputError: a key is missing, an entry is damaged, or the destination has other features: another layout, or
            other values for images of `source`, of which a few are compared.
    """
    if is_packed(Path(destination)) and Path(destination).resolve() == source.path.resolve():
        raise InputError(f"{destination} is the source itself: choose another folder")
    wanted = list(source) if keys is None else _present(source, keys)
    first = source[wanted[0]] if wanted else None
    spec = replace(
        source.spec,
        dtype=dtype,
        max_regions=None,
        detector=detector or source.spec.detector,
        provenance=provenance or source.spec.provenance or f"{source.format}: {source.path.name}",
    )
    classes = 0 if first is None or first.class_probs is None else first.class_probs.shape[1]
    _check_same_source(source, Path(destination), wanted, spec)
    with PackedWriter(destination, spec, classes) as writer:
        todo = [key for key in wanted if key not in writer]
        for key in _bar(todo, "convert"):
            writer.add(key, source[key])
    return len(todo)


def _check_same_source(source: RegionSource, destination: Path, keys: Sequence[str], spec: FeatureSpec) -> None:
    """Raise InputError when a store at `destination` has other values for images of `source`, since it would keep them.

    Compares the first, the last and some images between them, which is enough to tell two detectors apart.
    """
    if not is_packed(destination):
        return
    store = PackedRegions(destination)
    names = set(store)
    both = [key for key in keys if key in names]
    compared = np.unique(np.linspace(0, len(both) - 1, min(len(both), _IMAGES_COMPARED)).astype(int))
    for key in (both[position] for position in compared):
        result = Comparison(rounding=max(rounding_of(spec.dtype), rounding_of(store.spec.dtype)))
        _compare_one(result, key, source[key], store[key])
        if result.reasons():
            raise InputError(
                f"{destination} was made from another source ('{store.spec.provenance}', now '{spec.provenance}'): "
                f"image '{key}' has other values there, and {len(both)} of {len(keys)} images would keep theirs. Name "
                "another folder, or delete that one to convert from scratch"
            )


def _present(source: RegionSource, keys: Sequence[str]) -> list[str]:
    """The source's own names of `keys`, each once. Raises InputError for absent ones."""
    absent = source.missing(keys)
    if absent:
        raise InputError(
            f"{source.path} has no features for {len(absent)} of {len(keys)} keys, among them "
            f"{', '.join(absent[:_MISSING_NAMED])}"
        )
    return [source.index.name(position) for position in dict.fromkeys(source.index.find(keys).tolist())]


@dataclass
class Comparison:
    """How two collections differ."""

    rounding: float = 0.0
    """Relative difference of features that rounding to the coarser of their types explains."""
    common: int = 0
    """Images in both."""
    only_first: int = 0
    only_second: int = 0
    other_shape: int = 0
    """Images with another number of regions or another dimension."""
    feature_difference: float = 0.0
    """Largest absolute difference of a feature value."""
    beyond_rounding: int = 0
    """Images with a feature that differs by more than `rounding`."""
    box_difference: float = 0.0
    """Largest absolute difference of a box coordinate, in pixels."""
    other_size: int = 0
    """Images whose width or height differs."""
    worst: str = ""
    """Key of the image with the largest feature difference."""
    matches: Matches = field(default_factory=Matches)
    """Regions matched by their boxes: what two detectors or two settings have in common."""

    def reasons(self, tolerance: float | None = None) -> list[str]:
        """List the reasons why the collections differ.

        Args:
            tolerance: absolute difference of feature values and box coordinates that counts as equal; None takes
                `rounding` for the features and nothing for the boxes.
        """
        counts = (
            (self.only_first, "images only in the first"),
            (self.only_second, "images only in the second"),
            (self.other_shape, "images with another number of regions or dimension"),
            (self.other_size, "images with another image size"),
        )
        found = [f"{count} {what}" for count, what in counts if count]
        if tolerance is None and self.beyond_rounding:
            found.append(
                f"{self.beyond_rounding} images whose features differ by more than rounding (up to "
                f"{self.feature_difference:.3g}, image {self.worst})"
            )
        if tolerance is not None and not self.feature_difference <= tolerance:
            found.append(f"features differ by {self.feature_difference:.3g} (image {self.worst}), over {tolerance:g}")
        if not self.box_difference <= (tolerance or 0.0):
            found.append(f"boxes differ by {self.box_difference:.3g} pixels, over {tolerance or 0.0:g}")
        return found


def rounding_of(dtype: str) -> float:
    """Largest relative error of rounding to `dtype`; at least that of float32, which values are compared as."""
    return 2.0**-11 if dtype == "float16" else 2.0**-24


def compare(first: RegionSource, second: RegionSource) -> Comparison:
    """Read both collections and measure their differences; images are matched as `KeyIndex` finds them."""
    names = list(first)
    positions = second.index.find(names)
    result = Comparison(max(rounding_of(source.spec.dtype) for source in (first, second)))
    result.only_first = int((positions < 0).sum())
    result.common = len(names) - result.only_first
    result.only_second = len(second) - len(np.unique(positions[positions >= 0]))
    for name, position in _bar(list(zip(names, positions.tolist())), "compare"):
        if position >= 0:
            _compare_one(result, name, first[name], second[second.index.name(position)])
    return result


def _compare_one(result: Comparison, key: str, left: RegionFeatures, right: RegionFeatures) -> None:
    """Add one image to the result."""
    result.other_size += (left.width, left.height) != (right.width, right.height)
    result.matches.add(key, left, right)
    if left.features.shape != right.features.shape:
        result.other_shape += 1
        return
    differences = np.abs(left.features - right.features)
    difference = float(differences.max(initial=0.0))
    if difference > result.feature_difference or np.isnan(difference):
        result.feature_difference, result.worst = difference, key
    if difference:
        # Below the normal numbers of float16 the error is absolute, half of the smallest one.
        floor = 2.0**-25 if result.rounding > 1e-6 else 0.0
        allowed = result.rounding * np.maximum(np.abs(left.features), np.abs(right.features)) + floor
        result.beyond_rounding += not bool((differences <= allowed).all())
    if left.boxes is not None and right.boxes is not None:
        result.box_difference = max(result.box_difference, float(np.abs(left.boxes - right.boxes).max(initial=0.0)))


def find_damage(source: RegionSource) -> list[tuple[str, str]]:
    """List (key, problem) of every image that cannot be read, has another shape than the spec, fails its checksum, or
    has values that are not finite in float32. Only packed stores have checksums.
    """
    found = []
    dimension = _dimension(source)
    for key in _bar(list(source), "verify"):
        try:
            if isinstance(source, PackedRegions):
                source.check_record(key)
            stored = source.stored(key)
            if len(stored) and dimension is None:
                dimension = stored.features.shape[-1]
            found += [(key, problem) for problem in _problems(stored, dimension)]
        except InputError as error:
            found.append((key, str(error)))
    return found


def _dimension(source: RegionSource) -> int | None:
    """The dimension that all entries should have; None when only the first entry defines it and is damaged."""
    read_spec(source.path)  # a damaged header or spec is an error of its own, not one of every image
    try:
        return source.spec.dimension
    except InputError:
        if isinstance(source, PackedRegions) or not len(source):
            raise
        return None


def _problems(stored: RegionFeatures, dimension: int | None) -> list[str]:
    """List what is wrong with the shape and the values of one image."""
    features, found = stored.features, []
    if len(stored) and (features.ndim != 2 or features.shape[1] != dimension):
        found.append(f"not {dimension}-d")
    parts = (("features", features), ("boxes", stored.boxes), ("class probabilities", stored.class_probs))
    for name, values in parts:
        if values is None:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(np.asarray(values, dtype=np.float32))
        if not finite.all():
            found.append(f"{int((~finite).sum())} {name} are NaN, infinite or too large for float32")
    return found


def summary(source: RegionSource) -> list[tuple[str, str]]:
    """Summarise a collection without reading its features, as (name, value) rows."""
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
        ("extractor", spec.extractor or "unknown"),
    ]
    if isinstance(source, PackedRegions):
        regions = source.committed.numbers["regions"]
        rows += [
            ("regions", f"{int(regions.sum()):,} (mean {regions.mean() if len(regions) else 0:.1f} an image)"),
            ("size", f"{source.committed.data_bytes / 2**20:,.1f} MiB"),
            ("complete", "yes" if source.committed.complete else "no: writing was interrupted, run it again to resume"),
        ]
    return rows


def _bar(items: Sequence, title: str) -> Iterable:
    """Show a progress bar on a terminal. `pyutils.console` would load Paddle, which takes seconds."""
    return tqdm(items, desc=title, unit=" images", disable=None)
