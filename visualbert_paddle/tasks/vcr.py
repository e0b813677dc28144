"""VCR with VisualBERT: choose one of four answers or rationales (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import paddle

from pyutils.config import setting
from pyutils.config.renamed import Renamed
from pyutils.data.annotations.vcr import VCRFiles, neutral_names, read_split
from pyutils.data.records import VCRRecord
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch, Rows
from pyutils.engine.vcr import Mode, VCRSplitTask
from pyutils.errors import InputError
from pyutils.losses import masked_cross_entropy
from pyutils.metrics.vcr import CHOICES, ChoicePredictions, probabilities
from visualbert_paddle.data.vcr_texts import (
    ChoiceText,
    alignment,
    alignment_array,
    choice_text,
    pieces,
    regions_of_objects,
)
from visualbert_paddle.network.heads import VisualBertForMultipleChoice
from visualbert_paddle.tasks.base import VisualBertRunConfig, VisualBertTask, network_inputs

_PER_IMAGE = ("region_features", "region_mask", "region_token_type_ids")


@dataclass(frozen=True)
class VisualBertVCRConfig(VisualBertRunConfig):
    """Configuration of run_vcr.py."""

    vcr: VCRFiles = setting(VCRFiles, "Questions, answers, rationales, objects.")
    renamed_keys: ClassVar[Mapping[str, Renamed]] = {
        **VisualBertRunConfig.renamed_keys,
        "mode": Renamed("mode", {"q_a": "answer", "qa_r": "rationale"}),
    }

    mode: Mode = setting("answer", "answer: Q→A; rationale: QA→R, given the right answer.")
    align: bool = setting(True, "Add to a region the position embeddings of the words that name it.")
    draw_names: bool = setting(False, "Draw new names for people in every training batch.")


class VisualBertVCR(VCRSplitTask, VisualBertTask):
    """Batches: `input_ids`, `text_mask`, `token_type_ids` `[b, 4, t]` int64; `region_features` `[b, r, d]` float32,
    `region_mask`, `region_token_type_ids` `[b, r]` int64; with `align` `alignment` `[b, 4, r, a]` int64, word positions
    or -1; in training `labels` `[b]` int64."""

    name = "visualbert_vcr"
    best_metric = "accuracy"
    config_class = VisualBertVCRConfig
    pipelines = {**VCRSplitTask.pipelines, **VisualBertTask.pipelines}
    example_flags = ("annot_id",)
    predict_flags = ("of_split", "rationale_checkpoint")

    def __init__(self, config: VisualBertVCRConfig):
        super().__init__(config)
        self.model = VisualBertForMultipleChoice(self.config.model)
        if config.align:
            self.regions.require(boxes=True)

    def data_settings(self) -> dict[str, Any]:
        return {name: getattr(self.config, name) for name in ("vcr", "regions", "tokenizer")}

    def read(self, split: str) -> Sequence[VCRRecord]:
        return self.regions.shown(self.regions.available(read_split(self.config.vcr, split), "image"))

    def collate(
        self, records: list[VCRRecord], rng: np.random.Generator, training: bool, given_answer: int | None = None
    ) -> dict[str, np.ndarray]:
        """The batch of the class; `given_answer` as in `choices`."""
        drawing = rng if training and self.config.draw_names else None
        texts = [self.choices(record, drawing, given_answer) for record in records]
        flat = self.text_arrays([choice.sequence for choices in texts for choice in choices])
        batch = {name: array.reshape(len(records), CHOICES, -1) for name, array in flat.items()}
        regions = self.regions.read([record.image for record in records])
        batch |= self.arrays_of(regions)
        if self.config.align:
            counts = regions.mask.sum(axis=1)
            aligned = []
            for row, (record, choices) in enumerate(zip(records, texts)):
                size, boxes = (record.width, record.height), regions.boxes[row, : counts[row]]
                region_of = regions_of_objects(record.object_boxes, size, boxes, regions.sizes[row].tolist())
                aligned += alignment(choices, region_of)
            array = alignment_array(aligned, regions.mask.shape[1])
            batch["alignment"] = array.reshape(len(records), CHOICES, *array.shape[1:])
        if training:
            batch["labels"] = np.array([self.label_of(record) for record in records], dtype=np.int64)
        return batch

    def choices(
        self, record: VCRRecord, rng: np.random.Generator | None = None, given_answer: int | None = None
    ) -> list[ChoiceText]:
        """Return the four texts of a question; `rng` draws the names of people. Rationales follow the answer
        `given_answer`, None for the right one."""
        names = neutral_names(record.object_names, rng)
        question = pieces(self.tokenizer, record.question, names)
        options = record.answer_choices
        if self.config.mode == "rationale":
            answer = record.answer_label if given_answer is None else given_answer
            if answer is None:
                raise InputError(f"question {record.annot_id} has no answer label, which its rationales depend on")
            question = question + pieces(self.tokenizer, record.answer_choices[answer], names)
            options = record.rationale_choices
        encoded = [pieces(self.tokenizer, option, names) for option in options]
        return [choice_text(self.tokenizer, question, option, self.config.max_text) for option in encoded]

    def label_of(self, record: VCRRecord) -> int:
        """The right choice. InputError where it is hidden."""
        label = record.answer_label if self.config.mode == "answer" else record.rationale_label
        if label is None:
            raise InputError(f"question {record.annot_id} has no label: run_predict.py writes its scores")
        return label

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Scores of the choices `[b, 4]`, each with the regions of its image."""
        inputs = network_inputs(batch)
        for name in _PER_IMAGE:
            value = inputs[name]
            inputs[name] = value.unsqueeze(1).expand([value.shape[0], CHOICES, *value.shape[1:]])
        return self.model(**inputs)

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        return masked_cross_entropy(self.scores(batch), batch["labels"]), {}

    def predict(self, loader: Iterable[Batch], split: str) -> ChoicePredictions:
        """The four scores of every question of `split`."""
        scores = predict_all(lambda batch: {"scores": self.scores(batch)}, loader)["scores"]
        records, answers = self.records(split), self.config.mode == "answer"
        labels = {record.annot_id: record.answer_label if answers else record.rationale_label for record in records}
        by_question = {name: row.tolist() for name, row in zip(labels, scores)}
        return ChoicePredictions(by_question, labels, f"scores_{self.config.mode}.json")

    def answer_example(self, example: Mapping[str, Any], output: Path) -> Rows:
        """The choices of the question `annot_id` of `of_split` with their probabilities."""
        split, wanted = example.get("of_split", "val"), example["annot_id"]
        record = next((record for record in self.records(split) if record.annot_id == wanted), None)
        if record is None:
            raise InputError(f"split {split!r} has no question {wanted!r}; give the annot_id of one of its questions")
        shares = probabilities(self.scores_of([record])[0].tolist())
        texts = [self.tokenizer.decode(choice.sequence.ids) for choice in self.choices(record)]
        return [{"question and choice": text, "probability": f"{share:.4f}"} for text, share in zip(texts, shares)]
