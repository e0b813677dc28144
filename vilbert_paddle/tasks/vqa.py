"""VQA v2 with ViLBERT: a classifier over frequent answers (arXiv 1908.02265, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from pyutils.config import setting
from pyutils.console import say
from pyutils.data.records import VQARecord
from pyutils.data.vqa.answers import AnswerVocabulary, describe_answers
from pyutils.data.vqa.results import SplitAnswers
from pyutils.data.vqa.splits import SplitOverlaps, VQAConfig, answer_list, read_split, with_saved_answers
from pyutils.engine.answers import Choices, Example, ranked_choices
from pyutils.engine.evaluation import predict_all
from pyutils.engine.split_task import USUAL_TOP
from pyutils.engine.task import Batch
from pyutils.metrics.vqa import best_answers
from vilbert_paddle.data.classification import vqa_batch
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, sigmoid


@dataclass(frozen=True)
class VQARunConfig(VilbertRunConfig):
    """Configuration of run_vqa.py."""

    vqa: VQAConfig = setting(VQAConfig, "Questions, annotations, answer list.")


class VQATask(VilbertTask):
    """Batches: see `vqa_batch`. Metric: `accuracy`, the official one in percent."""

    name = "vilbert_vqa"
    best_metric = "accuracy"
    needs_labels = True
    file_keys = ("tokenizer", "vqa.answers")
    objective = "vqa"
    task_number = 1
    config_class = VQARunConfig
    example_flags = ("image", "text")
    predict_flags = ("top",)

    def __init__(self, config: VQARunConfig, model: nn.Layer | None = None):
        self.answers = AnswerVocabulary.load(answer_list(config.vqa))
        super().__init__(config, {"vqa": len(self.answers)}, model=model)
        self.overlaps = SplitOverlaps()

    def read(self, split: str) -> Sequence[VQARecord]:
        """Read the questions; log it if training and evaluation share some."""
        records = read_split(self.config.vqa, split)
        warning = self.overlaps.add(split, records)
        if warning:
            say(warning)
        return self.with_regions(records, "image")

    def collate(self, records: list[VQARecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        limit, rule = self.config.max_text, self.config.vqa.soft_scores
        return self.with_task(vqa_batch(records, self.tokenizer, self.reader, limit, self.answers, rule, training))

    def describe(self, split: str) -> list[str]:
        answers = describe_answers(self.records(split), self.answers, answer_list(self.config.vqa), split)
        return [*super().describe(split), *answers]

    def predict(self, loader: Iterable[Batch], split: str) -> SplitAnswers:
        """Choose the best answer to every question of `split`; `<unk>` is never one."""

        def best(batch: Batch) -> dict[str, np.ndarray]:
            scores: paddle.Tensor = self.scores(batch)
            return {"chosen": best_answers(scores.astype("float32").numpy(), self.answers.unknown)}

        chosen, section = predict_all(best, loader)["chosen"], self.config.vqa
        return SplitAnswers(self.records(split), chosen, self.answers, section.evaluation, section.result_form)

    def answer_questions(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Choices]:
        """List the `top` answers to each example's `text`, with the sigmoid of their scores, as in training."""
        scores = self.scores_of([VQARecord(0, example.images[0], example.text) for example in examples])
        if self.answers.unknown is not None:
            scores[:, self.answers.unknown] = -np.inf
        return [ranked_choices(self.answers, own, top=top) for own in sigmoid(scores)]

    pipelines = {"visual-question-answering": answer_questions, **VilbertTask.pipelines}

    @classmethod
    def with_saved_files(cls, config: Any, folder: Path) -> Any:
        """Read the saved vocabulary and answer list."""
        return with_saved_answers(super().with_saved_files(config, folder), folder)

    def checkpoint_files(self) -> Sequence[Path]:
        """The vocabulary and the answer list."""
        return (*super().checkpoint_files(), answer_list(self.config.vqa))
