"""Describe region features (`FeatureSpec`) and hold their arrays (`RegionFeatures`, `RegionBatch`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np

from pyutils.config import load_config
from pyutils.config.checks import at_least
from pyutils.errors import InputError

UNKNOWN_DETECTOR = "unknown"


@dataclass(frozen=True)
class FeatureSpec:
    """Describe a collection of region features: enough to decide if a model can read it."""

    dimension: int
    """Length of one region's feature vector."""
    detector: str = UNKNOWN_DETECTOR
    """Name of the detector that made the features, e.g. `bottom-up-resnet101-vg`; `unknown` when not recorded."""
    max_regions: Optional[int] = None
    """Largest number of regions of an image; None when it is not known without reading everything."""
    box_format: Literal["xyxy_pixels", "none"] = "xyxy_pixels"
    """`xyxy_pixels` (left, top, right, bottom in pixels of the original image) or `none`."""
    has_class_probs: bool = False
    """True when each region has its detector's class probabilities."""
    dtype: str = "float32"
    """Type of the stored features; readers always return float32."""
    provenance: str = ""
    """Where the features come from, in free text."""
    extractor: str = ""
    """Flags of `paddle-vl features extract` that describe other images the same way; empty: made by another program."""

    def __post_init__(self) -> None:
        at_least(self, 1, "dimension")

    def check(
        self,
        where: str | Path,
        dimension: int | None = None,
        detector: str | None = None,
        boxes: bool = False,
        class_probs: bool = False,
    ) -> None:
        """Compare with what a model expects; None and False skip a check.

        A detector is compared only when both sides name one.

        Raises:
            InputError: names `where`, the expected and the found value.
        """
        known = detector is not None and UNKNOWN_DETECTOR not in (detector, self.detector)
        trained = "give the features the model was trained on, or"
        checks = (
            (
                dimension in (None, self.dimension),
                f"expected {dimension}-d regions, {where} holds {self.dimension}-d: {trained} set its visual dimension "
                f"to {self.dimension}",
            ),
            (
                not known or detector == self.detector,
                f"expected regions of detector '{detector}', {where} holds those of '{self.detector}': {trained} "
                "change the expected detector in the config",
            ),
            (not boxes or self.box_format != "none", f"{where} holds features without boxes; the model needs boxes"),
            (not class_probs or self.has_class_probs, f"{where} holds no class probabilities; the task needs them"),
        )
        for passed, message in checks:
            if not passed:
                raise InputError(message)


def read_spec(path: Path) -> FeatureSpec | None:
    """Read the `spec.json` in the folder `path`, or `FILE.spec.json` beside the file `path`; None if there is none."""
    file = path / "spec.json" if path.is_dir() else path.with_name(path.name + ".spec.json")
    return load_config(FeatureSpec, file) if file.is_file() else None  # JSON is YAML


def spec_text(spec: FeatureSpec) -> str:
    """Return the JSON that `read_spec` reads."""
    return json.dumps(asdict(spec), indent=1) + "\n"


@dataclass(frozen=True)
class RegionFeatures:
    """The regions of one image."""

    features: np.ndarray
    """[regions, dimension] float32."""
    boxes: np.ndarray | None
    """[regions, 4] float32, left, top, right, bottom in pixels; None when the source has no boxes."""
    width: int = 0
    """Width of the image in pixels, 0 when unknown."""
    height: int = 0
    """Height of the image in pixels, 0 when unknown."""
    class_probs: np.ndarray | None = None
    """[regions, classes] float32, None when the source has none."""

    def __len__(self) -> int:
        return len(self.features)


def make_regions(
    where: object,
    features: Any,
    boxes: Any,
    size: tuple[int, int],
    class_probs: Any = None,
    count: int | None = None,
) -> RegionFeatures:
    """Build the regions of one image from stored arrays: their first `count` rows (default: all).

    Args:
        where: file and entry, for messages.
        size: (width, height) of the image in pixels.

    Raises:
        InputError: an array is not [at least `count`, columns] numbers.
    """
    count = len(features) if count is None and isinstance(features, np.ndarray) else count or 0
    for name, array in (("features", features), ("boxes", boxes), ("class probabilities", class_probs)):
        if array is None and name != "features":
            continue
        kinds = "f" if name == "features" else "fiu"
        fits = isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in kinds
        if not fits or not 0 <= count <= len(array):
            found = f"{getattr(array, 'dtype', type(array).__name__)} {np.shape(array)}"
            raise InputError(f"{where}: expected {name} [regions, columns] of {count} regions, found {found}")
    return RegionFeatures(
        features[:count],
        None if boxes is None else boxes[:count, :4],
        *size,
        None if class_probs is None else class_probs[:count],
    )


def read_number(values: Mapping[str, Any], name: str, where: object, default: int | None = None) -> int:
    """Read the whole number `values[name]`, which may be text. Raises InputError when it is anything else."""
    try:
        return int(values.get(name, default))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"{where}: {name} must be a number, found {values.get(name)!r}") from None


@dataclass(frozen=True)
class RegionBatch:
    """The regions of several images, padded with zeros to the longest."""

    features: np.ndarray
    """[batch, regions, dimension] float32."""
    mask: np.ndarray
    """[batch, regions] int64, 1 for a real region."""
    boxes: np.ndarray
    """[batch, regions, 4] float32, left, top, right, bottom in pixels; zeros when the source has no boxes."""
    sizes: np.ndarray
    """[batch, 2] int64, (width, height) in pixels; 0 when unknown."""
    class_probs: np.ndarray | None = None
    """[batch, regions, classes] float32 when asked for; the global region's row is zero."""

    def locations(self) -> np.ndarray:
        """Normalised boxes, [batch, regions, 5], see `normalise_boxes`; zeros where the mask is 0."""
        return normalise_boxes(self.boxes, self.sizes)


def normalise_boxes(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Boxes relative to the image, and the fraction of it they cover (ViLBERT, arXiv 1908.02265, section 3.1).

    Args:
        boxes: [batch, regions, 4], left, top, right, bottom in pixels.
        sizes: [batch, 2] integers, (width, height) in pixels.

    Returns:
        [batch, regions, 5] float32: left / width, top / height, right / width, bottom / height, area fraction.

    Raises:
        InputError: a size is 0 (unknown).
    """
    if sizes.size and sizes.min() <= 0:
        raise InputError(
            "the region features have no image sizes, so boxes cannot be normalised: use features with image_width and "
            "image_height"
        )
    extent = np.concatenate([sizes, sizes], axis=1).astype(np.float32)[:, None, :]  # [batch, 1, 4]
    boxes = boxes.astype(np.float32, copy=False)
    located = np.empty((*boxes.shape[:2], 5), dtype=np.float32)
    # The area is computed in pixels before dividing, as the original does: the other order differs in the last bit.
    located[..., 4] = (boxes[..., 3] - boxes[..., 1]) * (boxes[..., 2] - boxes[..., 0])
    located[..., 4] /= (sizes[:, 0].astype(np.float64) * sizes[:, 1])[:, None].astype(np.float32)
    np.divide(boxes, extent, out=located[..., :4])
    return located
