"""Train the detector: the losses of Faster R-CNN, and how many annotated objects it finds again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from pyutils import distributed
from pyutils.config import setting, to_yaml
from pyutils.data.features.matching import match_boxes
from pyutils.detection.data import BoxConfig, BoxedImage, read_split
from pyutils.engine.evaluation import predict_all
from pyutils.engine.run import RunConfig
from pyutils.engine.task import Batch, Task
from pyutils.errors import InputError
from pyutils.metrics.predictions import MetricsOnly
from pyutils.regions.detector import STRIDE, BottomUpDetector, Detections, DetectorConfig
from pyutils.regions.extract import read_image
from pyutils.regions.extractors import ATTRIBUTE_NAMES, CLASS_NAMES
from pyutils.regions.names import convert_detector_weights
from pyutils.regions.preprocess import preprocess
from pyutils.regions.training import DetectorLossConfig, Targets, detector_losses
from pyutils.weights import read
from pyutils.weights.loading import LoadReport, load_arrays
from pyutils.weights.places import resolve_weights


@dataclass(frozen=True)
class DetectorRunConfig(RunConfig):
    """Configuration of `python -m pyutils.detection`."""

    model: DetectorConfig = setting(DetectorConfig, "The network.")
    losses: DetectorLossConfig = setting(DetectorLossConfig, "Sampling and weights of the losses.")
    boxes: BoxConfig = setting(BoxConfig, "Images and their objects.")
    freeze_norms: bool = setting(True, "Batch norms keep their statistics: for fine-tuning, not from scratch.")


class DetectorTask(Task):
    """Batches: `pixels` `[b, h, w, 3]` uint8 RGB, zeros where padded; `sizes` `[b, 2]` int64 height, width; `boxes`
    `[b, g, 4]` float32 pixels, `classes`, `attributes` `[b, g]` int64, `counts` `[b]` int64 objects; `seeds` `[b]`
    int64 of the random choices in the loss."""

    name = "detector"
    best_metric = "recognised"
    find_unused_parameters = True  # a batch without known attributes leaves their head out

    def __init__(self, config: DetectorRunConfig):
        if config.task not in ("", self.name):
            raise InputError(f"the configuration is of task {config.task}, not of {self.name}; give another --config")
        self.config = replace(config, task=self.name)
        self.config_text = to_yaml(self.config)
        self.model = BottomUpDetector(config.model)
        norms = [layer for layer in self.model.sublayers() if isinstance(layer, nn.BatchNorm2D)]
        for layer in norms if config.freeze_norms else ():
            layer._use_global_stats = True
        moving = () if config.freeze_norms else norms
        self._statistics = [values for layer in moving for values in (layer._mean, layer._variance)]
        self._splits: dict[str, Any] = {}

    def eval_records(self, split: str) -> Sequence[BoxedImage]:
        """Read the images of `split` once."""
        if split not in self._splits:
            model = self.config.model
            self._splits[split] = read_split(self.config.boxes, split, model.classes, model.attributes)
        return self._splits[split]

    def train_records(self) -> Sequence[BoxedImage]:
        return self.eval_records("train")

    def checkpoint_files(self) -> Sequence[Path]:
        """Return the names of classes and attributes, with which the detector labels its regions."""
        section = self.config.boxes
        files = [Path(section.root).expanduser() / name for name in (section.classes, section.attributes)]
        for file, name in zip(files, (CLASS_NAMES, ATTRIBUTE_NAMES)):
            if file.name != name or not file.is_file():
                raise InputError(f"{file}: expected a file named {name} with one name per line")
        return files

    def collate(self, records: list[BoxedImage], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        images = [read_image(Path(record.path)) for record in records]
        sizes = np.array([image.shape[:2] for image in images], np.int64)
        pixels = np.zeros((len(images), *sizes.max(axis=0), 3), np.uint8)
        most = max(len(record.boxes) for record in records)
        boxes = np.zeros((len(images), most, 4), np.float32)
        classes, attributes = (np.full((len(images), most), -1, np.int64) for _ in range(2))
        for row, (image, record) in enumerate(zip(images, records)):
            pixels[row, : image.shape[0], : image.shape[1]] = image
            count = len(record.boxes)
            boxes[row, :count], classes[row, :count] = record.boxes, record.classes
            attributes[row, :count] = record.attributes
        return {
            "pixels": pixels,
            "sizes": sizes,
            "boxes": boxes,
            "classes": classes,
            "attributes": attributes,
            "counts": np.array([len(record.boxes) for record in records], np.int64),
            "seeds": rng.integers(1 << 62, size=len(records)),
        }

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """Return the sum of the five losses; each is logged."""
        given = preprocess(_images(batch), self.config.model)
        targets, draws = [], []
        for row, truth in enumerate(_truth(batch)):
            scale = given.scales[row][[1, 0, 1, 0]]  # of the original over the resized image
            targets.append(truth._replace(boxes=truth.boxes / scale))
            draws.append(np.random.default_rng(int(batch["seeds"][row])))
        model, cells = self.config.model, int(np.prod(np.ceil(np.array(given.images.shape[2:]) / STRIDE) + 1))
        anchors = cells * len(model.anchor_sizes) * len(model.anchor_ratios)
        regions = model.rpn_after_nms + batch["boxes"].shape[1]
        random = [np.stack([draw.random(count) for draw in draws]) for count in (anchors, regions)]
        losses = detector_losses(self.model, given.images, given.sizes, targets, random, self.config.losses)
        total = sum(losses.values(), paddle.zeros([]))
        return total, {name: value.detach() for name, value in losses.items()}

    def after_step(self, step: int) -> None:
        """Average the batch norms' statistics over the processes, each of which saw its own images."""
        if distributed.world_size() == 1 or not self._statistics:
            return
        own = paddle.concat([values.flatten() for values in self._statistics])
        mean = distributed.gather_rows(own.unsqueeze(0)).mean(axis=0)
        for values, new in zip(self._statistics, mean.split([values.size for values in self._statistics])):
            values.set_value(new)

    def predict(self, loader: Iterable[Batch], split: str) -> MetricsOnly:
        """Detect, and compare with the objects of `split`, in percent of them: `found` (a box with IoU 0.5 or more),
        `recognised` (and its class), `described` (and, where known, its attribute)."""

        def compared(batch: Batch) -> dict[str, np.ndarray]:
            rows = []
            for image, truth in zip(_images(batch), _truth(batch)):  # one at a time: padding reaches into the features
                given = preprocess([image], self.config.model)
                (found,) = self.model.detect(given.images, given.sizes, given.scales)
                rows.append(counts_of(found, truth))
            return {"counts": np.array(rows)}

        total = predict_all(compared, loader)["counts"].sum(axis=0)
        names = ("found", "recognised", "described")
        return MetricsOnly({name: 100.0 * float(total[n + 1] / total[0]) for n, name in enumerate(names)})


def counts_of(found: Detections, truth: Targets) -> list[int]:
    """Return the number of objects of an image, of those found, recognised and described, see `DetectorTask.predict`.

    An object counts as found by the box that overlaps it most; a box finds one object.
    """
    pairs, _ = match_boxes(truth.boxes, found.boxes)
    objects, regions = pairs[:, 0], pairs[:, 1]
    kind = found.class_ids[regions] == truth.classes[objects]
    attribute = (truth.attributes[objects] < 0) | (found.attribute_ids[regions] == truth.attributes[objects])
    return [len(truth.boxes), len(pairs), int(kind.sum()), int((kind & attribute).sum())]


def load_initial(model: nn.Layer, source: str, may_miss: list[str]) -> LoadReport:
    """Load weights to start from: ours, or those of `open_detector`'s other code bases."""
    file = resolve_weights(source)
    arrays = read(file)
    if not any(name.startswith("rpn.") for name in arrays):
        arrays = convert_detector_weights(arrays, str(file)).tensors
    return load_arrays(model, arrays, str(file), may_miss=[r"^rpn\.cell_anchors$", *may_miss])


def _images(batch: Batch) -> list[np.ndarray]:
    pixels, sizes = batch["pixels"].numpy(), batch["sizes"].numpy()
    return [image[:height, :width] for image, (height, width) in zip(pixels, sizes.tolist())]


def _truth(batch: Batch) -> list[Targets]:
    columns = [batch[name].numpy() for name in ("boxes", "classes", "attributes")]
    return [Targets(*(column[row][:count] for column in columns)) for row, count in enumerate(batch["counts"].tolist())]
