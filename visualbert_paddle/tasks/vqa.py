"""VQA v2 with VisualBERT: a classifier over frequent answers, read at the question's [MASK] (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle

from pyutils.config import setting
from pyutils.config.checks import at_least
from pyutils.console import say
from pyutils.data.records import VQARecord
from pyutils.data.vqa.answers import AnswerVocabulary, describe_answers
from pyutils.data.vqa.results import SplitAnswers
from pyutils.data.vqa.splits import SplitOverlaps, VQAConfig, answer_list, read_split, with_saved_answers
from pyutils.engine.answers import Choices, Example, ranked_choices
from pyutils.engine.evaluation import evaluating, predict_all, split_loader
from pyutils.engine.precision import autocast
from pyutils.engine.run import check_output_dir
from pyutils.engine.split_task import USUAL_TOP
from pyutils.engine.task import Batch, Rows
from pyutils.losses import kl_unnormalised, vqa_bce
from pyutils.metrics.classification import softmax
from pyutils.text import sequences
from visualbert_paddle.network.heads import VisualBertForQuestionAnswering
from visualbert_paddle.tasks.base import VisualBertRunConfig, VisualBertTask, network_inputs

# [CLS], one word of the question, "?", [MASK] and [SEP].
SHORTEST_TEXT = 5
LOSSES = {"bce": vqa_bce, "kl": kl_unnormalised}


@dataclass(frozen=True)
class VisualBertVQAConfig(VisualBertRunConfig):
    """Configuration of run_vqa2.py."""

    vqa: VQAConfig = setting(VQAConfig, "Questions, annotations, answer list.")
    loss: Literal["bce", "kl"] = setting("bce", "bce: logits times answers; kl: the authors' unnormalised divergence.")

    def __post_init__(self) -> None:
        at_least(self, SHORTEST_TEXT, "max_text")


class VisualBertVQA(VisualBertTask):
    """Batches: `input_ids`, `text_mask`, `token_type_ids` `[b, t]` int64; `region_features` `[b, r, d]` float32,
    `region_mask`, `region_token_type_ids` `[b, r]` int64; in training `labels` `[b, answers]` float32 soft scores."""

    name = "visualbert_vqa"
    best_metric = "accuracy"
    needs_labels = True
    file_keys = ("tokenizer", "vqa.answers")
    config_class = VisualBertVQAConfig
    example_flags = ("image", "text")
    predict_flags = ("top", "picture", "allow_unk")
    find_unused_parameters = True  # the pooler is not read

    def __init__(self, config: VisualBertVQAConfig):
        super().__init__(config)
        self.overlaps = SplitOverlaps()
        self.answers = AnswerVocabulary.load(answer_list(config.vqa))
        self.model = VisualBertForQuestionAnswering(self.config.model, len(self.answers))

    def read(self, split: str) -> Sequence[VQARecord]:
        """The questions of `split`; logs a warning when training and evaluation share questions."""
        records = self.regions.available(read_split(self.config.vqa, split), "image")
        warning = self.overlaps.add(split, records)
        if warning:
            say(warning)
        return self.regions.shown(records)

    def collate(self, records: list[VQARecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        texts = [sequences.question(self.tokenizer, record.question, self.config.max_text) for record in records]
        batch = {**self.text_arrays(texts), **self.region_arrays([record.image for record in records])}
        if training:
            batch["labels"] = soft_labels(records, self.answers, self.config.vqa.soft_scores)
        return batch

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Answer scores `[b, answers]`."""
        return self.model(**network_inputs(batch))

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        return LOSSES[self.config.loss](self.scores(batch), batch["labels"]), {}

    def describe(self, split: str) -> list[str]:
        answers = describe_answers(self.records(split), self.answers, answer_list(self.config.vqa), split)
        return [*super().describe(split), *answers]

    def predict(self, loader: Iterable[Batch], split: str, allow_unknown: bool = False) -> SplitAnswers:
        """The best answer to every question of `split`, without `<unk>` unless allowed."""
        excluded = None if allow_unknown else self.answers.unknown

        def best(batch: Batch) -> dict[str, paddle.Tensor]:
            scores = self.scores(batch)
            if excluded is not None:
                scores[:, excluded] = -1e9
            return {"chosen": scores.argmax(axis=1)}

        chosen, section = predict_all(best, loader)["chosen"], self.config.vqa
        return SplitAnswers(self.records(split), chosen, self.answers, section.evaluation, section.result_form)

    def predict_with(self, flags: Mapping[str, Any], split: str) -> SplitAnswers:
        """Predictions for `split`; with `allow_unk` also `<unk>` where it wins, as the authors' code does."""
        settings = self.config.train
        with evaluating(self.model), autocast(settings.precision):
            return self.predict(split_loader(self, settings, split), split, bool(flags.get("allow_unk")))

    def check_example(self, example: Mapping[str, Any], output: Path) -> None:
        """InputError when an image is to be drawn and the output directory cannot be written."""
        if "picture" in example:
            check_output_dir(output)

    def answer_example(self, example: Mapping[str, Any], output: Path) -> Rows:
        """The `top` answers to `text` about `image` with their probabilities; drawn if `picture` is given."""
        rows = super().answer_example(example, output)
        if example.get("picture") is not None:
            from pyutils.visualize.contact_sheet import Card, draw_contact_sheet

            given = ", ".join(f"{row['answer']} {float(row['probability']):.0%}" for row in rows[:3])
            card = Card(example["picture"], example["text"], given)
            say(f"drawn: {draw_contact_sheet([card], output / 'prediction.png', columns=1)}")
        return rows

    def answer_questions(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Choices]:
        """Rank the `top` answers to each example's `text` without `<unk>`, by the softmax over the answers."""
        scores = self.scores_of([VQARecord(0, example.images[0], example.text) for example in examples])
        if self.answers.unknown is not None:
            scores[:, self.answers.unknown] = -np.inf
        shares = np.where(np.isneginf(scores), scores, softmax(scores))
        return [ranked_choices(self.answers, own, top=top) for own in shares]

    pipelines = {"visual-question-answering": answer_questions, **VisualBertTask.pipelines}

    @classmethod
    def with_saved_files(cls, config: Any, folder: Path) -> Any:
        """`config` with the vocabulary and the answer list saved with a checkpoint in `folder`."""
        return with_saved_answers(super().with_saved_files(config, folder), folder)

    def checkpoint_files(self) -> Sequence[Path]:
        """The vocabulary and the answer list: with them a checkpoint answers questions on its own."""
        return (*super().checkpoint_files(), answer_list(self.config.vqa))


def soft_labels(records: list[VQARecord], answers: AnswerVocabulary, rule: str) -> np.ndarray:
    """Soft targets `[b, answers]` float32. MMF's rule uses only the answers that are classes."""
    given = [answers.valid(record.answers) if rule == "mmf" else record.answers for record in records]
    return answers.fill(given, rule)
