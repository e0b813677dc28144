"""SNLI-VE and other classes of an image with a sentence, with VisualBERT: a classifier of the pooled [CLS] state.

The paper has no such task; the head is that of its NLVR2 (section 4.3), as MMF's for hateful memes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from pyutils.config import setting
from pyutils.data.annotations import classified
from pyutils.data.annotations.fields import get_split
from pyutils.data.records import EntailmentRecord
from pyutils.engine.answers import Choices, Example, ranked_choices
from pyutils.engine.evaluation import predict_all
from pyutils.engine.split_task import USUAL_TOP
from pyutils.engine.task import Batch
from pyutils.losses import masked_cross_entropy
from pyutils.metrics.classification import softmax
from pyutils.metrics.entailment_results import EntailmentPredictions
from pyutils.text import sequences
from visualbert_paddle.network.heads import PooledScores
from visualbert_paddle.tasks.base import VisualBertRunConfig, VisualBertTask, network_inputs


@dataclass(frozen=True)
class VisualBertEntailmentConfig(VisualBertRunConfig):
    """Configuration of run_ve.py."""

    snli_ve: classified.EntailmentConfig = setting(classified.EntailmentConfig, "Sentences and labels.")
    classes: list[str] = setting(list(classified.ENTAILMENT_CLASSES), classified.CLASSES_HELP)

    def __post_init__(self) -> None:
        classified.check_classes(self.classes)


class VisualBertEntailment(VisualBertTask):
    """Batches: `input_ids`, `text_mask`, `token_type_ids` `[b, t]` int64; `region_features` `[b, r, d]` float32,
    `region_mask`, `region_token_type_ids` `[b, r]` int64; in training `labels` `[b]` int64, rows of the classes."""

    name = "visualbert_ve"
    best_metric = "accuracy"
    config_class = VisualBertEntailmentConfig
    example_flags = ("image", "text")

    def __init__(self, config: VisualBertEntailmentConfig):
        super().__init__(config)
        self.classes = tuple(config.classes)
        self.model = PooledScores(self.config.model, len(self.classes))

    def read(self, split: str) -> Sequence[EntailmentRecord]:
        section = self.config.snli_ve
        path = Path(section.root).expanduser() / get_split(section.splits, split, "snli_ve.splits")
        records = classified.read(path, self.classes)
        records = classified.trainable(records, split) if split == "train" else records
        return self.regions.shown(self.regions.available(records, "image"))

    def collate(
        self, records: list[EntailmentRecord], rng: np.random.Generator, training: bool
    ) -> dict[str, np.ndarray]:
        words = self.tokenizer.encode_batch(record.sentence for record in records)
        texts = [sequences.single(self.tokenizer, sentence, self.config.max_text) for sentence in words]
        batch = {**self.text_arrays(texts), **self.region_arrays([record.image for record in records])}
        if training:
            batch["labels"] = np.array([self.classes.index(record.label) for record in records], dtype=np.int64)
        return batch

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Scores `[b, classes]`."""
        return self.model(**network_inputs(batch))

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        return masked_cross_entropy(self.scores(batch), batch["labels"]), {}

    def labelled(self, split: str) -> bool:
        return any(record.label is not None for record in self.records(split))

    def predict(self, loader: Iterable[Batch], split: str) -> EntailmentPredictions:
        """Predict the class of every pair of `split`."""

        def classify(batch: Batch) -> dict[str, np.ndarray]:
            return {"scores": softmax(self.scores(batch).astype("float32").numpy())}

        scores, records = predict_all(classify, loader)["scores"], self.records(split)
        labels = [record.label for record in records]
        return EntailmentPredictions([record.identifier for record in records], scores, labels, self.classes)

    def classify(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Choices]:
        """Rank the classes of each example's `text` about its image."""
        records = [EntailmentRecord(example.images[0], example.text, None, "") for example in examples]
        return [ranked_choices(self.classes, own, "class") for own in softmax(self.scores_of(records))]

    pipelines = {"visual-entailment": classify, **VisualBertTask.pipelines}
