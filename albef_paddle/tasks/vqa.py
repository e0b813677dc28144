"""VQA v2 with ALBEF: an answer decoder ranks an answer list (arXiv 2107.07651, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle

from albef_paddle.network.question_answering import AlbefForQuestionAnswering
from albef_paddle.tasks.base import AlbefRunConfig, AlbefTask
from pyutils.config import setting
from pyutils.config.checks import at_least
from pyutils.data.annotations import albef
from pyutils.data.records import WeightedVQARecord
from pyutils.data.vqa.answers import AnswerVocabulary, describe_answers
from pyutils.data.vqa.forms import RESULT_FORM_HELP, ResultForm
from pyutils.data.vqa.results import SplitAnswers
from pyutils.engine.answers import Choices, Example, ranked_choices
from pyutils.engine.evaluation import evaluating, predict_all
from pyutils.engine.split_task import USUAL_TOP
from pyutils.engine.task import Batch
from pyutils.metrics.vqa import CURRENT_VERSION, EVALUATION_HELP
from pyutils.text.cleaning import clean_question


@dataclass(frozen=True)
class AlbefVQAConfig(AlbefRunConfig):
    """Configuration of run_vqa.py."""

    answer_list: str = setting("data/albef/answer_list.json", "JSON list of the answers to rank.")
    k_test: int = setting(128, "Answers ranked per question, those with the most probable first word.")
    max_tokens: int = setting(25, "Maximum tokens of a question, including [CLS].")
    evaluation: Literal[2021, 2017] = setting(CURRENT_VERSION, EVALUATION_HELP)
    result_form: ResultForm = setting("vqa", RESULT_FORM_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "k_test")
        at_least(self, 2, "max_tokens")


class AlbefVQA(AlbefTask):
    """Batches: `images` `[b, 3, size, size]` float32; `question_ids`, `question_mask` `[b, t]` int64; in training
    `answer_ids`, `answer_mask` `[answers, a]` int64, `answer_rows` `[answers]` int64 (the question of each) and
    `answer_weights` `[answers]` float32."""

    name = "albef_vqa"
    best_metric = "accuracy"
    needs_labels = True
    file_keys = ("tokenizer", "answer_list")
    config_class = AlbefVQAConfig
    example_flags = ("image", "text")
    predict_flags = ("top",)

    def __init__(self, config: AlbefVQAConfig):
        super().__init__(config)
        self.answers = albef.read_answer_list(config.answer_list)
        self.model = AlbefForQuestionAnswering(self.config.model)

    def read(self, split: str) -> Sequence[WeightedVQARecord]:
        files = self.config.data.files(split)
        return (albef.read_vqa if split == "train" else albef.read_vqa_eval)(files)

    def collate(
        self, records: list[WeightedVQARecord], rng: np.random.Generator, training: bool
    ) -> dict[str, np.ndarray]:
        images = self.images(training).read_batch([record.image for record in records], rng)
        batch = {"images": images, **self.question_arrays([record.question for record in records])}
        if training:
            batch |= self.answer_arrays(records)
        return batch

    def question_arrays(self, questions: Sequence[str]) -> dict[str, np.ndarray]:
        """Make `question_ids` and `question_mask` of cleaned questions."""
        cleaned = (clean_question(question, self.config.max_words) for question in questions)
        return self.text_arrays([self.ids(text, self.config.max_tokens) for text in cleaned], "question")

    def answer_arrays(self, records: Sequence[WeightedVQARecord]) -> dict[str, np.ndarray]:
        """Make the `answer_…` entries of a training batch; every record has an answer."""
        weighted = [record.weighted_answers() for record in records]
        return {
            **self.text_arrays([self.answer_ids(text) for answers in weighted for text in answers], "answer"),
            "answer_rows": np.repeat(np.arange(len(records)), [len(answers) for answers in weighted]),
            "answer_weights": np.array([w for answers in weighted for w in answers.values()], dtype=np.float32),
        }

    def answer_ids(self, text: str) -> list[int]:
        """Encode `[CLS] answer [SEP]`."""
        most = self.config.model.text.max_positions - 1
        return [*self.ids(text, most), self.tokenizer.sep]

    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        names = ["images", "question_ids", "question_mask"]
        names += ["answer_ids", "answer_mask", "answer_rows", "answer_weights"]
        return self.model(*(batch[name] for name in names), alpha), {}

    def candidates(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Encode the answer list: ids and mask `[answers, a]` int64."""
        arrays = self.tensors(self.text_arrays([self.answer_ids(text) for text in self.answers]))
        return arrays["input_ids"], arrays["text_mask"]

    def describe(self, split: str) -> list[str]:
        answers = describe_answers(self.records(split), AnswerVocabulary(self.answers), self.config.answer_list, split)
        return [*super().describe(split), *answers]

    def predict(self, loader: Iterable[Batch], split: str) -> SplitAnswers:
        """Choose the best answer of the list to every question of `split`."""
        ids, mask = self.candidates()

        def best(batch: Batch) -> dict[str, paddle.Tensor]:
            inputs = (batch[name] for name in ("images", "question_ids", "question_mask"))
            return {"chosen": self.model.rank(*inputs, ids, mask, self.config.k_test).answers[:, 0]}

        chosen, config = predict_all(best, loader)["chosen"], self.config
        return SplitAnswers(self.records(split), chosen, self.answers, config.evaluation, config.result_form)

    def answer_questions(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Choices]:
        """Rank the `top` answers of the list to each example's `text`; probabilities are among the `k_test` ranked."""
        arrays = self.tensors(self.question_arrays([example.text for example in examples]))
        images = self.pixels([example.images[0] for example in examples])
        inputs = images, arrays["question_ids"], arrays["question_mask"]
        with evaluating(self.model):
            ranked = self.model.rank(*inputs, *self.candidates(), self.config.k_test)
        rows = zip(ranked.answers.numpy(), ranked.probabilities.numpy())
        return [ranked_choices([self.answers[n] for n in numbers], shares, top=top) for numbers, shares in rows]

    @classmethod
    def with_saved_files(cls, config: Any, folder: Path) -> Any:
        """Use the saved answer list too."""
        config = super().with_saved_files(config, folder)
        answers = folder / Path(config.answer_list).name
        return replace(config, answer_list=str(answers)) if answers.is_file() else config

    def checkpoint_files(self) -> Sequence[Path]:
        """Save the answer list too."""
        return (*super().checkpoint_files(), Path(self.config.answer_list))

    pipelines = {"visual-question-answering": answer_questions}
