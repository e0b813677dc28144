"""VQA v2 with ViLBERT: a classifier over frequent answers (arXiv 1908.02265, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from pyutils.config import setting
from pyutils.console import say
from pyutils.data.records import VQARecord
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.data.vqa.classifier import SplitAnswers
from pyutils.data.vqa.splits import SplitOverlaps, VQAConfig, answer_list, read_split
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.metrics.vqa import best_answers
from vilbert_paddle.data.classification import vqa_batch
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask


@dataclass(frozen=True)
class VQARunConfig(VilbertRunConfig):
    """Configuration of run_vqa.py."""

    vqa: VQAConfig = setting(VQAConfig, "Questions, annotations, answer list.")


class VQATask(VilbertTask):
    """Batches: see `vqa_batch`. Metric: `accuracy`, the official one in percent."""

    name = "vilbert_vqa"
    best_metric = "accuracy"
    objective = "vqa"
    task_number = 1
    config_class = VQARunConfig

    def __init__(self, config: VQARunConfig, model: nn.Layer | None = None):
        self.answers = AnswerVocabulary.load(answer_list(config.vqa))
        super().__init__(config, {"vqa": len(self.answers)}, model=model)
        self.last_answers: SplitAnswers | None = None
        self.overlaps = SplitOverlaps()

    def read(self, split: str) -> Sequence[VQARecord]:
        """See VilbertTask. Says when training and evaluation share questions."""
        records = read_split(self.config.vqa, split)
        warning = self.overlaps.add(split, records)
        if warning:
            say(warning)
        return self.seen(records, "image")

    def collate(self, records: list[VQARecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """See the class for the batch."""
        settings, rule = self.config.max_text, self.config.vqa.soft_scores
        return self.with_task(vqa_batch(records, self.tokenizer, self.reader, settings, self.answers, rule, training))

    def answer(self, loader: Iterable[Batch], split: str) -> SplitAnswers:
        """The best answer to every question of `split`; `<unk>` is never one."""

        def best(batch: Batch) -> dict[str, np.ndarray]:
            scores: paddle.Tensor = self.scores(batch)
            return {"chosen": best_answers(scores.astype("float32").numpy(), self.answers.unknown)}

        return SplitAnswers(self.records(split), predict_all(best, loader)["chosen"], self.answers)

    def evaluate(self, loader: Iterable[Batch], split: str) -> dict[str, float]:
        """The official VQA accuracy in percent, overall and by answer type."""
        if not self.records(split)[0].answers:
            raise InputError(
                f"split {split!r} has no human answers to compare with: run_predict.py writes its result file"
            )
        self.last_answers = self.answer(loader, split)
        return self.last_answers.metrics()

    def predict(self, loader: Iterable[Batch], split: str) -> None:
        """Answer every question of `split`, for `write_results`."""
        self.last_answers = self.answer(loader, split)

    def write_results(self, output_dir: Path, split: str) -> None:
        """`result.json` of the last evaluation, for the evaluation server."""
        if self.last_answers is not None:
            self.last_answers.write(output_dir)

    def checkpoint_files(self) -> Sequence[Path]:
        """The vocabulary and the answer list: with them a checkpoint answers questions on its own."""
        return (*super().checkpoint_files(), answer_list(self.config.vqa))
