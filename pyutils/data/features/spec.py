"""Describe region features (`FeatureSpec`) and hold their arrays (`RegionFeatures`, `RegionBatch`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from pyutils.errors import InputError, nearest

UNKNOWN_DETECTOR = "unknown"
BOX_FORMATS = ("xyxy_pixels", "none")


@dataclass(frozen=True)
class FeatureSpec:
    """Describe a collection of region features: enough to decide if a model can read it."""

    dimension: int
    """Length of one region's feature vector."""
    detector: str = UNKNOWN_DETECTOR
    """Name of the detector that made the features, e.g. `bottom-up-resnet101-vg`; `unknown` when not recorded."""
    max_regions: int | None = None
    """Largest number of regions of an image; None when it is not known without reading everything."""
    box_format: str = "xyxy_pixels"
    """`xyxy_pixels` (left, top, right, bottom in pixels of the original image) or `none`."""
    has_class_probs: bool = False
    """True when each region carries its detector's class probabilities."""
    dtype: str = "float32"
    """Type of the stored features; arrays handed out are float32 whatever it is."""
    provenance: str = ""
    """Where the features come from, in free text."""

    def __post_init__(self) -> None:
        if self.box_format not in BOX_FORMATS:
            raise InputError(f"box_format is '{self.box_format}', expected one of {', '.join(BOX_FORMATS)}")
        if self.dimension < 1:
            raise InputError(f"a feature dimension of {self.dimension} is not positive")

    def check(
        self,
        where: str | Path,
        dimension: int | None = None,
        detector: str | None = None,
        boxes: bool = False,
        class_probs: bool = False,
    ) -> None:
        """Compare with what a model expects; None and False skip a check.

        A detector is compared only when both sides name one. Raises InputError naming `where`, the expected and the
        found value.
        """
        if dimension is not None and dimension != self.dimension:
            raise InputError(
                f"expected {dimension}-d regions, {where} holds {self.dimension}-d: give the features the model was "
                f"trained on, or set its visual dimension to {self.dimension}"
            )
        known = UNKNOWN_DETECTOR not in (detector, self.detector)
        if detector is not None and known and detector != self.detector:
            raise InputError(
                f"expected regions of detector '{detector}', {where} holds those of '{self.detector}': give the "
                "features the model was trained on, or change the expected detector in the config"
            )
        if boxes and self.box_format == "none":
            raise InputError(f"{where} holds features without boxes, and the model needs boxes")
        if class_probs and not self.has_class_probs:
            raise InputError(f"{where} holds no class probabilities, and the task needs them")

    def to_json(self) -> dict:
        """A dict of plain values, the inverse of `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict, where: str | Path) -> FeatureSpec:
        """The spec written in `where`. Raises InputError for unknown or missing fields."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise InputError(f"{where}: unknown field '{name}': {nearest(name, known)}")
        if not isinstance(values.get("dimension"), int):
            raise InputError(
                f"{where}: 'dimension' must be the length of a feature vector, found {values.get('dimension')!r}"
            )
        return cls(**values)


def spec_file(path: Path) -> Path:
    """Where the spec of features at `path` is written: inside a folder, beside a file."""
    return path / "spec.json" if path.is_dir() else path.with_name(path.name + ".spec.json")


def read_spec(path: Path) -> FeatureSpec | None:
    """The spec written by hand or by a tool for the features at `path`, None if there is none."""
    file = spec_file(path)
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{file} must hold a JSON object with the fields of FeatureSpec")
    return FeatureSpec.from_json(values, file)


@dataclass(frozen=True)
class RegionFeatures:
    """The regions of one image."""

    features: np.ndarray
    """[regions, dimension] float32."""
    boxes: np.ndarray | None
    """[regions, 4] float32, left, top, right, bottom in pixels; None when the source has no boxes."""
    width: int = 0
    """Width of the image in pixels, 0 when the source does not say."""
    height: int = 0
    """Height of the image in pixels, 0 when the source does not say."""
    class_probs: np.ndarray | None = None
    """[regions, classes] float32, None when the source has none."""

    def __len__(self) -> int:
        return len(self.features)


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
    """[batch, 2] int64, (width, height) in pixels; 0 when the source does not say."""
    class_probs: np.ndarray | None = None
    """[batch, regions, classes] float32 when asked for; the global region's row is zero."""

    def locations(self) -> np.ndarray:
        """Boxes as the models read them: [batch, regions, 5], see `normalise_boxes`; zeros where the mask is 0."""
        return normalise_boxes(self.boxes, self.sizes)


def normalise_boxes(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Boxes relative to the image, and the fraction of it they cover (ViLBERT, arXiv 1908.02265, section 3.1).

    Args:
        boxes: [batch, regions, 4], left, top, right, bottom in pixels.
        sizes: [batch, 2] integers, (width, height) in pixels.

    Returns:
        [batch, regions, 5] float32: left / width, top / height, right / width, bottom / height, area fraction.

    Raises:
        InputError: a size is 0, which is how a source says that it does not know it.
    """
    if sizes.size and sizes.min() <= 0:
        raise InputError(
            "the region source does not say how large the images are, so boxes cannot be made relative to them: use "
            "features that carry image_width and image_height"
        )
    extent = np.concatenate([sizes, sizes], axis=1).astype(np.float32)[:, None, :]  # [batch, 1, 4]
    boxes = boxes.astype(np.float32, copy=False)
    located = np.empty((*boxes.shape[:2], 5), dtype=np.float32)
    # The area is computed in pixels before dividing, as the original does: the other order differs in the last bit.
    located[..., 4] = (boxes[..., 3] - boxes[..., 1]) * (boxes[..., 2] - boxes[..., 0])
    located[..., 4] /= (sizes[:, 0].astype(np.float64) * sizes[:, 1])[:, None].astype(np.float32)
    np.divide(boxes, extent, out=located[..., :4])
    return located
