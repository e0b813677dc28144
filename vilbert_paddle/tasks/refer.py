"""RefCOCO, RefCOCO+ and RefCOCOg: which region does an expression refer to? (arXiv 1908.02265, section 4.1)"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from pyutils import distributed
from pyutils.config import setting
from pyutils.console import say
from pyutils.data.features.inputs import RegionSourceConfig
from pyutils.data.records import ReferRecord
from pyutils.engine.answers import Box, Boxes, Example
from pyutils.engine.evaluation import predict_all
from pyutils.engine.split_task import USUAL_TOP
from pyutils.engine.task import Batch, State
from pyutils.formats.atomic import write_json
from pyutils.metrics.grounding import accuracy_at, best_regions
from pyutils.metrics.predictions import Predictions
from vilbert_paddle.data.refer import ReferConfig, read_refer_split, refer_batch
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask

RESULT_FILE = "result.json"
# Sums since the last epoch report: losses of `batches`, annotated regions `cut`; `seen`: records of all epochs.
_EMPTY_SUMS = {"loss": 0.0, "batches": 0, "seen": 0, "cut": 0}
TASK_NUMBERS = {"refcoco": 9, "refcoco+": 10, "refcocog": 11}


@dataclass(frozen=True)
class ReferRunConfig(VilbertRunConfig):
    """Configuration of run_refer.py."""

    refer: ReferConfig = setting(ReferConfig, "Expressions and objects.")
    annotated_regions: RegionSourceConfig = setting(
        RegionSourceConfig, "Regions of the annotated boxes, added in training; no path: none."
    )


@dataclass(frozen=True)
class ReferPredictions(Predictions):
    """`identifiers` of the expressions; `chosen` `[n]` int64 regions (0: the whole image) and their `iou` `[n]`."""

    identifiers: Sequence[int]
    chosen: np.ndarray
    iou: np.ndarray

    def metrics(self) -> dict[str, float]:
        """`accuracy` in percent."""
        return {"accuracy": 100.0 * accuracy_at(self.iou)}

    def write(self, directory: Path) -> list[Path]:
        """Write `result.json`: id, chosen region and overlap of every expression."""
        rows = zip(self.identifiers, self.chosen.tolist(), self.iou.tolist())
        result = [{"id": name, "target": region, "IOU": iou} for name, region, iou in rows]
        write_json(directory / RESULT_FILE, result)
        return [directory / RESULT_FILE]


class ReferTask(VilbertTask):
    """Batches: see `refer_batch`. Metric: `accuracy`, percent of expressions whose best-scored region overlaps the
    described box by more than half."""

    name = "vilbert_refer"
    best_metric = "accuracy"
    objective = "refer"
    config_class = ReferRunConfig
    example_flags = ("image", "text")
    predict_flags = ("top",)

    def __init__(self, config: ReferRunConfig, model: nn.Layer | None = None):
        super().__init__(config, annotated=config.annotated_regions, model=model)
        self.task_number = TASK_NUMBERS.get(config.refer.dataset, 10)
        self._sums, self._training = dict(_EMPTY_SUMS), False
        self._pending: list[Any] = []

    def read(self, split: str) -> Sequence[ReferRecord]:
        return self.with_regions(read_refer_split(self.config.refer, split), "image", annotated=split == "train")

    def collate(self, records: list[ReferRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        return self.with_task(refer_batch(records, self.tokenizer, self.reader, self.config.max_text, training))

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        loss, logs = super().loss(batch)
        if self._training:
            self._pending.append((loss.detach(), batch["annotated_cut"].sum(), batch["labels"].shape[0]))
        return loss, logs

    def before_training(self) -> None:
        """Check the data, and report an epoch at every evaluation from now on."""
        super().before_training()
        self._training = True

    def predict(self, loader: Iterable[Batch], split: str) -> ReferPredictions:
        """Choose a region for every expression of `split`; in training, also report the epoch."""

        def choose(batch: Batch) -> dict[str, np.ndarray]:
            scores = self.scores(batch).astype("float32").numpy()
            chosen = best_regions(scores, batch["region_mask"].numpy())
            overlaps = batch["labels"].numpy()
            reached = np.where(batch["region_mask"].numpy() > 0, overlaps, 0.0).max(axis=1)
            return {
                "chosen": chosen,
                "iou": np.take_along_axis(overlaps, chosen[:, None], axis=1)[:, 0],
                "best": reached,
            }

        found = predict_all(choose, loader)
        bound = 100.0 * accuracy_at(found["best"])
        say(
            f"{'' if bound else 'warning: '}{bound:.2f} % of the expressions of {split!r} have a region that overlaps "
            "their box by more than half: the upper bound of the accuracy"
        )
        identifiers = [record.sentence_id for record in self.records(split)]
        predictions = ReferPredictions(identifiers, found["chosen"], found["iou"])
        if self._training:
            self._report(accuracy_at(found["iou"]))
        return predictions

    @classmethod
    def for_examples(cls, config: Any) -> Any:
        return replace(super().for_examples(config), annotated_regions=RegionSourceConfig())

    def locate(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Boxes]:
        """List the `top` regions for each example's `text`: number, score, corners in pixels."""
        keys = [example.images[0] for example in examples]
        whole = (0.0, 0.0, 1.0, 1.0)
        records = [ReferRecord(0, 0, key, 0, example.text, whole, 0, 0) for key, example in zip(keys, examples)]
        scores, regions = self.scores_of(records), self.reader.read(keys, keep_boxes=True)
        answers = []
        for own, boxes, mask in zip(scores, regions.boxes.tolist(), regions.mask):
            order = np.argsort(-own[: int(mask.sum())], kind="stable")[:top].tolist()
            answers.append(Boxes(boxes=tuple(Box(tuple(boxes[n]), float(own[n]), n) for n in order)))
        return answers

    pipelines = {"grounding": locate, **VilbertTask.pipelines}

    def state_dict(self) -> State:
        """The sums of the current epoch."""
        self._collect()
        return dict(self._sums)

    def load_state_dict(self, state: Mapping) -> None:
        self._sums = {name: type(value)(state[name]) for name, value in _EMPTY_SUMS.items()}

    def _collect(self) -> None:
        """Add the losses that are still on the device."""
        pending, self._pending = self._pending, []
        for loss, cut, records in pending:
            for name, value in (("loss", float(loss)), ("batches", 1), ("seen", records), ("cut", int(cut))):
                self._sums[name] += value

    def _report(self, accuracy: float) -> None:
        """Log the epoch in the old port's format, and the annotated regions beyond `max_regions`."""
        self._collect()
        total = distributed.all_reduce_sum({name: float(value) for name, value in self._sums.items()})
        if not total["batches"]:
            return
        train, records = self.config.train, len(self.records("train"))
        step = train.batch_size * train.accumulation_steps * distributed.world_size()
        epochs, rest = divmod(int(total["seen"]), records // step * step)
        progress = f"{{{epochs}}}, {rest} of {records} expressions." if rest else f"{{{epochs - 1}}} done!"
        loss = total["loss"] / total["batches"]
        say(f"** ** Epoch {progress} Training loss: {loss:.5f}, Val accuracy: {accuracy:.4f}")
        if total["cut"]:
            say(
                f"{int(total['cut'])} annotated regions were cut after the detected ones "
                f"(regions.max_regions {self.config.regions.max_regions})"
            )
        self._sums = {**_EMPTY_SUMS, "seen": self._sums["seen"]}
