"""RefCOCO, RefCOCO+ and RefCOCOg: which region does an expression mean? (arXiv 1908.02265, section 4.1)"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from pyutils import distributed
from pyutils.config import setting
from pyutils.console import say
from pyutils.data.features.inputs import RegionSourceConfig
from pyutils.data.records import ReferRecord
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch, State
from pyutils.formats.atomic import write_json
from pyutils.metrics.grounding import accuracy_at, best_regions
from vilbert_paddle.data.refer import ReferConfig, read_refer_split, refer_batch
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask

TASK_NUMBERS = {"refcoco": 9, "refcoco+": 10, "refcocog": 11}


@dataclass(frozen=True)
class ReferRunConfig(VilbertRunConfig):
    """Configuration of run_refer.py."""

    refer: ReferConfig = setting(ReferConfig, "Expressions and objects.")
    annotated_regions: RegionSourceConfig = setting(
        RegionSourceConfig, "Regions of the annotated boxes, mixed in for training; no path: none."
    )


@dataclass
class EpochTally:
    """What training summed up since the last line about an epoch: losses of `batches`, records `seen` in all epochs,
    annotated regions `cut`."""

    loss: float = 0.0
    batches: int = 0
    seen: int = 0
    cut: int = 0


class ReferTask(VilbertTask):
    """Batches: see `refer_batch`. Metric: `accuracy`, percent of expressions whose best-scored region overlaps the
    described box by more than half."""

    name = "vilbert_refer"
    best_metric = "accuracy"
    objective = "refer"
    config_class = ReferRunConfig

    def __init__(self, config: ReferRunConfig, model: nn.Layer | None = None):
        super().__init__(config, annotated=config.annotated_regions, model=model)
        self.task_number = TASK_NUMBERS.get(config.refer.dataset, 10)
        self.last_result: list[dict] = []
        self._tally, self._pending, self._training = EpochTally(), [], False

    def read(self, split: str) -> Sequence[ReferRecord]:
        """See VilbertTask."""
        return self.seen(read_refer_split(self.config.refer, split), "image", annotated=split == "train")

    def collate(self, records: list[ReferRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """See the class for the batch."""
        return self.with_task(refer_batch(records, self.tokenizer, self.reader, self.config.max_text, training))

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """See Task."""
        loss, logs = super().loss(batch)
        if self._training:
            self._pending.append((loss.detach(), batch["annotated_cut"].sum(), batch["labels"].shape[0]))
        return loss, logs

    def before_training(self) -> None:
        """From here on an evaluation ends an epoch and says so."""
        self._training = True

    def predict(self, loader: Iterable[Batch], split: str) -> np.ndarray:
        """The overlap [n] of the chosen region of every expression of `split`; all is kept for `write_results`."""

        def choose(batch: Batch) -> dict[str, np.ndarray]:
            scores = self.scores(batch).astype("float32").numpy()
            chosen = best_regions(scores, batch["region_mask"].numpy())
            overlaps = batch["labels"].numpy()
            return {"chosen": chosen, "iou": np.take_along_axis(overlaps, chosen[:, None], axis=1)[:, 0]}

        found = predict_all(choose, loader)
        identifiers = [record.sentence_id for record in self.records(split)]
        self.last_result = [
            {"id": identifier, "target": int(region), "IOU": float(iou)}
            for identifier, region, iou in zip(identifiers, found["chosen"], found["iou"])
        ]
        return found["iou"]

    def evaluate(self, loader: Iterable[Batch], split: str) -> dict[str, float]:
        """`accuracy` in percent."""
        accuracy = accuracy_at(self.predict(loader, split))
        if self._training:
            self._report(accuracy)
        return {"accuracy": 100.0 * accuracy}

    def write_results(self, output_dir: Path, split: str) -> None:
        """`SPLIT_result.json`: for every expression its id, the chosen region (0: the whole picture), the overlap."""
        write_json(output_dir / f"{split}_result.json", self.last_result)

    def state_dict(self) -> State:
        """The sums of the epoch under way."""
        self._collect()
        return vars(self._tally).copy()

    def load_state_dict(self, state: Mapping) -> None:
        """See Task."""
        self._tally = EpochTally(**{name: type(value)(state[name]) for name, value in vars(EpochTally()).items()})

    def _collect(self) -> None:
        """Fetch the losses that are still on the device."""
        pending, self._pending = self._pending, []
        for loss, cut, records in pending:
            self._tally.loss += float(loss)
            self._tally.cut += int(cut)
            self._tally.seen += records
            self._tally.batches += 1

    def _report(self, accuracy: float) -> None:
        """The line about an epoch that users of the old port look for, and what the limit of regions cost."""
        self._collect()
        own = vars(self._tally)
        total = distributed.all_reduce_sum({name: float(value) for name, value in own.items()})
        if not total["batches"]:
            return
        train, records = self.config.train, len(self.records("train"))
        step = train.batch_size * train.accumulation_steps * distributed.world_size()
        epochs, rest = divmod(int(total["seen"]), records // step * step)
        place = f"{{{epochs}}}, {rest} of {records} expressions." if rest else f"{{{epochs - 1}}} done!"
        loss = total["loss"] / total["batches"]
        say(f"** ** Epoch {place} Training loss: {loss:.5f}, Val accuracy: {accuracy:.4f}")
        if total["cut"]:
            say(
                f"{int(total['cut'])} annotated regions found no room beside the detected ones "
                f"(regions.max_regions {self.config.regions.max_regions})"
            )
        self._tally = EpochTally(seen=self._tally.seen)
