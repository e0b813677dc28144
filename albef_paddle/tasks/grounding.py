"""Weakly supervised grounding with ALBEF, trained without boxes (arXiv 2107.07651, section 6.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle

from albef_paddle.network.boxes import choose_box, pixel_iou
from albef_paddle.network.grad_cam import check_block, text_maps
from albef_paddle.network.retrieval import AlbefForRetrieval
from albef_paddle.tasks.base import AlbefRunConfig
from albef_paddle.tasks.retrieval import IdentifiedPairs
from pyutils.config import setting
from pyutils.data.annotations import albef
from pyutils.data.boxes import box_problem
from pyutils.data.records import ExpressionRecord
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.metrics.grounding import accuracy_at, peaks, pointing_hits, xyxy
from pyutils.metrics.predictions import Predictions

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class AlbefGroundingConfig(AlbefRunConfig):
    """Configuration of run_grounding.py."""

    detections: str = setting("", "dets.json, the boxes to choose among; empty: only the pointing game.")
    mode: Literal["itm", "itc"] = setting("itm", "Score to backpropagate for Grad-CAM: ITM logit or ITC similarity.")
    block_num: int = setting(8, "Text layer (itm) or block of the vision transformer (itc) whose attention is read.")
    words_only: bool = setting(False, "Mode itm: average over the words only, without [CLS] and padding.")


@dataclass(frozen=True)
class GroundingPredictions(Predictions):
    """For every expression `[n]`: `identifiers`, the part of the list (`parts`), whether the map peaks inside the box
    (`hit`), and the IoU of the chosen detection (`iou`, None without detections)."""

    identifiers: Sequence[Any]
    parts: np.ndarray
    hit: np.ndarray
    iou: np.ndarray | None

    def metrics(self) -> dict[str, float]:
        """Compute the percentage of expressions with IoU >= 0.5 (`accuracy`) and with the peak inside the box
        (`pointing`), overall and per part of the list (`accuracy/testA`)."""
        metrics = {}
        for name in ("", *dict.fromkeys(self.parts.tolist())):
            chosen = np.ones(len(self.parts), dtype=bool) if name == "" else self.parts == name
            end = f"/{name}" if name else ""
            if self.iou is not None:
                metrics[f"accuracy{end}"] = 100.0 * accuracy_at(self.iou[chosen], inclusive=True)
            metrics[f"pointing{end}"] = 100.0 * float(self.hit[chosen].mean())
        return metrics

    def write(self, directory: Path) -> list[Path]:
        """Write `result.json`: reference id, hit of the peak, IoU of the chosen detection."""
        overlaps = [None] * len(self.hit) if self.iou is None else self.iou.tolist()
        rows = zip(self.identifiers, self.hit.tolist(), overlaps)
        write_json(directory / RESULT_FILE, [{"ref_id": name, "hit": bool(hit), "IOU": iou} for name, hit, iou in rows])
        return [directory / RESULT_FILE]


class AlbefGrounding(IdentifiedPairs):
    """Batches: `images` `[b, 3, size, size]` float32, `input_ids`, `text_mask` `[b, t]` int64; in training `identities`
    `[b]` int64; in evaluation `sizes` `[b, 2]` int64, width and height of the image files."""

    name = "albef_grounding"
    config_class = AlbefGroundingConfig
    transform = "grounding"
    identity = "image"

    def __init__(self, config: AlbefGroundingConfig):
        super().__init__(config)
        self.best_metric = "accuracy" if config.detections else "pointing"
        self.model = AlbefForRetrieval(self.config.model)
        check_block(config.model, config.mode, config.block_num, config.words_only)

    def read(self, split: str) -> Sequence[ExpressionRecord]:
        """Read a split; "val" is only the validation part of its list, if the list has parts."""
        records = albef.read_grounding(self.config.data.files(split))
        part = np.flatnonzero(np.asarray(records.column("split")) == split)
        records = records.select(part) if split == "val" and len(part) else records
        if split != "train":
            self._check_boxes(records, split)
        return records

    def _check_boxes(self, records: Sequence[ExpressionRecord], split: str) -> None:
        """Raise InputError for an expression without its box, or whose image has no detection."""
        sizes: dict[str, tuple[int, int]] = {}
        for record in records:
            where = f"{', '.join(self.config.data.files(split))}: expression {record.ref_id} ({record.image})"
            if record.box is None:
                raise InputError(f'{where} has no "box" to compare with; make the list with pyutils.data.prepare')
            if self.config.detections and record.image_id not in self.detections:
                found = f"image_id {record.image_id}" if record.image_id >= 0 else 'no "image_id"'
                raise InputError(
                    f"{where} has {found}, for which {self.config.detections} has no boxes; run the detector on every "
                    "image of the list, or leave detections empty"
                )
            if self.config.image_input != "withheld" and record.image not in sizes:
                sizes[record.image] = self._size_of(record.image)
            problem = box_problem(xyxy(np.array([record.box])), *sizes.get(record.image, (0, 0)))
            if problem:
                raise InputError(f"{where}: {problem} (x, y, width, height in the list)")

    @cached_property
    def detections(self) -> dict[int, np.ndarray]:
        """Detected boxes `[n, 4]` float64 (x, y, width, height) by image id; empty without a file."""
        file = self.config.detections
        return albef.read_detections(file) if file else {}

    def collate(
        self, records: list[ExpressionRecord], rng: np.random.Generator, training: bool
    ) -> dict[str, np.ndarray]:
        source, names = self.images(training), [record.image for record in records]
        texts = [record.expression for record in records]
        batch = {"images": source.read_batch(names, rng)}
        if training:
            return {**batch, **self.pair_arrays(texts, names)}
        sizes = np.array([source.size(name) for name in names], dtype=np.int64)
        return {**batch, **self.text_arrays([self.caption(text) for text in texts]), "sizes": sizes}

    def _size_of(self, image: str) -> tuple[int, int]:
        """The size of an image, (0, 0) if it is missing, which has an error of its own."""
        source = self.images(False)
        return (0, 0) if source.missing([image]) else source.size(image)

    def maps(self, batch: Batch) -> np.ndarray:
        """Compute heat maps `[b, grid, grid]` float32."""
        return self.heat(*(batch[name] for name in ("images", "input_ids", "text_mask")))

    def heat(self, images: paddle.Tensor, ids: paddle.Tensor, mask: paddle.Tensor) -> np.ndarray:
        """Compute the map of each text by the configured mode and block, `[b, grid, grid]` float32."""
        config = self.config
        maps = text_maps(self.model, config.mode, config.block_num, images, ids, mask, words_only=config.words_only)
        return maps.astype("float32").numpy()

    def predict(self, loader: Iterable[Batch], split: str) -> GroundingPredictions:
        """Choose a detection for every expression, and compare it and the peak of the map with the box."""
        records = self.records(split)

        def compare(batch: Batch) -> dict[str, np.ndarray]:
            batch_records = [records[number] for number in batch["index"].numpy().tolist()]
            return self.compared(batch_records, self.maps(batch), batch["sizes"].numpy())

        found = predict_all(compare, loader)
        parts = np.asarray(records.column("split"))
        return GroundingPredictions([record.ref_id for record in records], parts, found["hit"], found.get("iou"))

    def compared(
        self, records: Sequence[ExpressionRecord], maps: np.ndarray, sizes: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Compute `iou` of the chosen detection and `hit` of the map's peak, `[b]` each.

        Raises InputError for an image without detections.
        """
        truth = np.array([record.box for record in records])
        points = peaks(maps, sizes[:, 0], sizes[:, 1])
        found = {"hit": pointing_hits(points, xyxy(truth)).astype(np.float32)}
        if self.config.detections:
            overlaps = [
                pixel_iou(choose_box(heat, int(size[0]), int(size[1]), self.boxes_of(record)).box, np.array(record.box))
                for record, heat, size in zip(records, maps, sizes)
            ]
            found["iou"] = np.array(overlaps)
        return found

    def boxes_of(self, record: ExpressionRecord) -> np.ndarray:
        """Return the detections of the record's image. Raises InputError if there are none."""
        boxes = self.detections.get(record.image_id, np.empty((0, 4)))
        if not len(boxes):
            raise InputError(
                f"{self.config.detections}: no box of image {record.image_id} ({record.image}, expression "
                f"{record.ref_id}); run the detector on every image of the list, or leave detections empty"
            )
        return boxes
