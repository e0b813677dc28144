"""NLVR2 with VisualBERT: whether a sentence is true of two images (paper, section 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from pyutils.config import setting
from pyutils.data.annotations.nlvr2 import NLVR2Config, read_split
from pyutils.data.records import PairRecord
from pyutils.engine.answers import Choices, Example, ranked_choices
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.losses import masked_cross_entropy
from pyutils.metrics.classification import softmax
from pyutils.metrics.nlvr2_results import PairPredictions
from pyutils.text import sequences
from visualbert_paddle.data.regions import pair_arrays
from visualbert_paddle.network.heads import VisualBertForReasoning
from visualbert_paddle.tasks.base import VisualBertRunConfig, VisualBertTask, network_inputs


@dataclass(frozen=True)
class VisualBertNLVR2Config(VisualBertRunConfig):
    """Configuration of run_nlvr2.py."""

    nlvr2: NLVR2Config = setting(NLVR2Config, "Sentences and labels.")


class VisualBertNLVR2(VisualBertTask):
    """Batches: `input_ids`, `text_mask`, `token_type_ids` `[b, t]` int64; `region_features` `[b, r, d]` float32,
    `region_mask`, `region_token_type_ids` `[b, r]` int64 (see `pair_arrays`); in training `labels` `[b]` int64,
    1 = True."""

    name = "visualbert_nlvr2"
    best_metric = "accuracy"
    needs_labels = True
    config_class = VisualBertNLVR2Config
    example_flags = ("image", "second_image", "text")

    def __init__(self, config: VisualBertNLVR2Config):
        super().__init__(config)
        self.model = VisualBertForReasoning(self.config.model)

    def read(self, split: str) -> Sequence[PairRecord]:
        records = read_split(self.config.nlvr2, split)
        return self.regions.shown(self.regions.available(records, "left", "right"), "left", "right")

    def collate(self, records: list[PairRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        words = self.tokenizer.encode_batch(record.sentence for record in records)
        texts = [sequences.single(self.tokenizer, sentence, self.config.max_text) for sentence in words]
        images = pair_arrays(self.regions, [r.left for r in records], [r.right for r in records])
        batch = {**self.text_arrays(texts), **images}
        if training:
            batch["labels"] = np.array([label_of(record) for record in records], dtype=np.int64)
        return batch

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Scores `[b, 2]` of False and True."""
        return self.model(**network_inputs(batch))

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        return masked_cross_entropy(self.scores(batch), batch["labels"]), {}

    def predict(self, loader: Iterable[Batch], split: str) -> PairPredictions:
        """Judge each sentence of `split`."""
        predicted = predict_all(lambda batch: {"label": self.scores(batch).argmax(axis=1)}, loader)["label"]
        records = self.records(split)
        return PairPredictions([r.identifier for r in records], predicted == 1, [r.label for r in records])

    def judge(self, examples: Sequence[Example], top: int = 2) -> list[Choices]:
        """Rank False and True for each example's `text` about its two images."""
        records = [PairRecord("", example.images[0], example.images[1], example.text, None) for example in examples]
        return [ranked_choices(("False", "True"), own, "verdict") for own in softmax(self.scores_of(records))]

    pipelines = {"nlvr": judge, **VisualBertTask.pipelines}


def label_of(record: PairRecord) -> int:
    """1 for True, 0 for False; InputError where the label is hidden."""
    if record.label is None:
        raise InputError(f"example {record.identifier} has no label; train on a split with labels")
    return int(record.label)
