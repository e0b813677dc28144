"""NLVR2 with VisualBERT: is a sentence true of two images? (paper, section 4.3)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from pyutils.config import setting
from pyutils.data.annotations.nlvr2 import NLVR2Config, read_split
from pyutils.data.records import PairRecord
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.losses import masked_cross_entropy
from pyutils.metrics.classification import nlvr2_scores
from pyutils.metrics.nlvr2_results import RESULT_FILE, write_predictions
from pyutils.text import sequences
from visualbert_paddle.heads import VisualBertForReasoning
from visualbert_paddle.pair_regions import pair_arrays
from visualbert_paddle.tasks.base import VisualBertRunConfig, VisualBertTask, network_inputs


@dataclass(frozen=True)
class VisualBertNLVR2Config(VisualBertRunConfig):
    """Configuration of run_nlvr2.py."""

    nlvr2: NLVR2Config = setting(NLVR2Config, "Sentences and labels.")


@dataclass(frozen=True)
class SplitJudgements:
    """What was said of every example of a split: `identifiers`, `said` `[n]` bool, `labels` (None where hidden)."""

    identifiers: Sequence[str]
    said: np.ndarray
    labels: Sequence[bool | None]

    def metrics(self) -> dict[str, float]:
        """`accuracy` and `consistency` in percent; nothing where a label is hidden."""
        if any(label is None for label in self.labels):
            return {}
        scores = nlvr2_scores(dict(zip(self.identifiers, self.labels)), dict(zip(self.identifiers, self.said)))
        return {name: 100.0 * value for name, value in scores._asdict().items()}

    def write(self, output_dir: Path) -> Path:
        """Write `predictions.csv` for the official metrics and return its path."""
        return write_predictions(output_dir / RESULT_FILE, self.identifiers, self.said)


class VisualBertNLVR2(VisualBertTask):
    """Batches: `input_ids`, `text_mask`, `token_type_ids` `[b, t]` int64; `region_features` `[b, r, d]` float32,
    `region_mask`, `region_token_type_ids` `[b, r]` int64 (see `pair_arrays`); in training `labels` `[b]` int64,
    1 = True."""

    name = "visualbert_nlvr2"
    best_metric = "accuracy"

    def __init__(self, config: VisualBertNLVR2Config):
        super().__init__(config)
        self.model = VisualBertForReasoning(self.config.model)
        self.last_judgements: SplitJudgements | None = None

    def read(self, split: str) -> Sequence[PairRecord]:
        """See VisualBertTask."""
        records = read_split(self.config.nlvr2, split)
        return self.regions.shown(self.regions.available(records, "left", "right"), "left", "right")

    def collate(self, records: list[PairRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """See the class for the batch."""
        words = self.tokenizer.encode_batch(record.sentence for record in records)
        texts = [sequences.single(self.tokenizer, sentence, self.config.max_text) for sentence in words]
        pictures = pair_arrays(self.regions, [r.left for r in records], [r.right for r in records])
        batch = {**self.text_arrays(texts), **pictures}
        if training:
            batch["labels"] = np.array([label_of(record) for record in records], dtype=np.int64)
        return batch

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Scores `[b, 2]` of False and True."""
        return self.model(**network_inputs(batch))

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """See Task."""
        return masked_cross_entropy(self.scores(batch), batch["labels"]), {}

    def judge(self, loader: Iterable[Batch], split: str) -> SplitJudgements:
        """What the model says of every example of `split`."""
        said = predict_all(lambda batch: {"said": self.scores(batch).argmax(axis=1)}, loader)["said"]
        records = self.records(split)
        return SplitJudgements([r.identifier for r in records], said == 1, [r.label for r in records])

    def evaluate(self, loader: Iterable[Batch], split: str) -> dict[str, float]:
        """Official accuracy and consistency, in percent."""
        label_of(self.records(split)[0], "; run_predict.py writes its prediction file")
        self.last_judgements = self.judge(loader, split)
        return self.last_judgements.metrics()

    def write_results(self, output_dir: Path, split: str) -> None:
        """`predictions.csv` of the last evaluation."""
        if self.last_judgements is not None:
            self.last_judgements.write(output_dir)


def label_of(record: PairRecord, remedy: str = "; train on a split with labels") -> int:
    """1 for True, 0 for False; InputError where the label is hidden."""
    if record.label is None:
        raise InputError(f"example {record.identifier} has no label{remedy}")
    return int(record.label)
