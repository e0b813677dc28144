"""VQA v2 with ALBEF: a decoder learns to write answers and ranks a list of them (arXiv 2107.07651, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from albef_paddle.network.question_answering import AlbefForQuestionAnswering
from albef_paddle.tasks.base import AlbefRunConfig, AlbefTask
from pyutils.config import setting
from pyutils.config.checks import at_least
from pyutils.data.annotations import albef
from pyutils.data.records import WeightedVQARecord
from pyutils.data.vqa.results import write_results
from pyutils.engine.evaluation import evaluating, predict_all
from pyutils.engine.task import Batch, Rows
from pyutils.errors import InputError
from pyutils.metrics.predictions import Predictions
from pyutils.metrics.vqa import evaluate_answers
from pyutils.text.cleaning import clean_question

RESULT_FILE = "result.json"
HUMAN_ANSWERS = 10


@dataclass(frozen=True)
class AlbefVQAConfig(AlbefRunConfig):
    """Configuration of run_vqa.py."""

    answer_list: str = setting("data/albef/answer_list.json", "JSON list of the answers that are ranked.")
    k_test: int = setting(128, "Answers of the list that are ranked for a question, those of likeliest first word.")
    max_tokens: int = setting(25, "Most tokens of a question, [CLS] among them.")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "k_test")
        at_least(self, 2, "max_tokens")


@dataclass(frozen=True)
class AnswerPredictions(Predictions):
    """`texts`: the answer to the question of each record."""

    records: Sequence[WeightedVQARecord]
    texts: Sequence[str]

    def metrics(self) -> dict[str, float]:
        """The official VQA accuracy in percent; {} without human answers."""
        if not len(self.records) or not self.records[0].answers:
            return {}
        given = dict(zip((record.question_id for record in self.records), self.texts))
        return {"accuracy": evaluate_answers(map(as_annotation, self.records), given).overall}

    def write(self, directory: Path) -> list[Path]:
        """Write `result.json` for the evaluation server."""
        ids = [record.question_id for record in self.records]
        write_results(directory / RESULT_FILE, ids, self.texts)
        return [directory / RESULT_FILE]


class AlbefVQA(AlbefTask):
    """Batches: `images` `[b, 3, size, size]` float32; `question_ids`, `question_mask` `[b, t]` int64; in training
    `answer_ids`, `answer_mask` `[answers, a]` int64, `answer_rows` `[answers]` int64 (the question of each) and
    `answer_weights` `[answers]` float32."""

    name = "albef_vqa"
    best_metric = "accuracy"
    config_class = AlbefVQAConfig
    example_flags = ("image", "text")
    predict_flags = ("top",)

    def __init__(self, config: AlbefVQAConfig):
        super().__init__(config)
        self.answers = albef.read_answer_list(config.answer_list)
        self.model = AlbefForQuestionAnswering(self.config.model)

    def read(self, split: str) -> Sequence[WeightedVQARecord]:
        """See AlbefTask."""
        files = self.config.data.files(split)
        return (albef.read_vqa if split == "train" else albef.read_vqa_eval)(files)

    def collate(
        self, records: list[WeightedVQARecord], rng: np.random.Generator, training: bool
    ) -> dict[str, np.ndarray]:
        """See the class for the batch."""
        pictures = self.images(training).read_batch([record.image for record in records], rng)
        batch = {"images": pictures, **self.question_arrays([record.question for record in records])}
        if training:
            batch |= self.answer_arrays(records)
        return batch

    def question_arrays(self, questions: Sequence[str]) -> dict[str, np.ndarray]:
        """`question_ids` and `question_mask` of cleaned questions."""
        cleaned = (clean_question(question, self.config.max_words) for question in questions)
        return self.text_arrays([self.ids(text, self.config.max_tokens) for text in cleaned], "question")

    def answer_arrays(self, records: Sequence[WeightedVQARecord]) -> dict[str, np.ndarray]:
        """The `answer_…` entries of a training batch. InputError where a record has no answer."""
        for record in records:
            if not record.answers:
                raise InputError(f"question {record.question_id} has no answer; train on a split with answers")
        rows = [row for row, record in enumerate(records) for _ in record.answers]
        return {
            **self.text_arrays([self.answer_ids(text) for record in records for text in record.answers], "answer"),
            "answer_rows": np.array(rows, dtype=np.int64),
            "answer_weights": np.array([w for record in records for w in record.weights], dtype=np.float32),
        }

    def answer_ids(self, text: str) -> list[int]:
        """`[CLS] answer [SEP]`."""
        most = self.config.model.text.max_positions - 1
        return [*self.ids(text, most), self.tokenizer.sep]

    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """See AlbefTask."""
        names = ("images", "question_ids", "question_mask", "answer_ids", "answer_mask", "answer_rows")
        return self.model(*(batch[name] for name in (*names, "answer_weights")), alpha), {}

    def candidates(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Ids and mask `[answers, a]` int64 of the answer list."""
        arrays = self.tensors(self.text_arrays([self.answer_ids(text) for text in self.answers]))
        return arrays["input_ids"], arrays["text_mask"]

    def labelled(self, split: str) -> bool:
        """See Task."""
        records = self.records(split)
        return not len(records) or bool(records[0].answers)  # an empty split has an error of its own

    def predict(self, loader: Iterable[Batch], split: str) -> AnswerPredictions:
        """The best answer of the list to every question of `split`."""
        ids, mask = self.candidates()

        def best(batch: Batch) -> dict[str, paddle.Tensor]:
            inputs = (batch[name] for name in ("images", "question_ids", "question_mask"))
            return {"chosen": self.model.rank(*inputs, ids, mask, self.config.k_test).answers[:, 0]}

        chosen = predict_all(best, loader)["chosen"].tolist()
        return AnswerPredictions(self.records(split), [self.answers[number] for number in chosen])

    def answer_example(self, example: Mapping[str, Any], output: Path) -> Rows:
        """The `top` answers of the list to `text` about `image`, with their probabilities."""
        arrays = self.tensors(self.question_arrays([example["text"]]))
        inputs = self.read_image(example["image"]), arrays["question_ids"], arrays["question_mask"]
        with evaluating(self.model):
            ranked = self.model.rank(*inputs, *self.candidates(), self.config.k_test)
        numbers = ranked.answers[0].numpy().tolist()[: example.get("top", 5)]
        best = zip(numbers, ranked.probabilities[0].numpy().tolist())
        return [{"answer": self.answers[number], "probability": f"{share:.4f}"} for number, share in best]

    @classmethod
    def with_saved_files(cls, config: Any, folder: Path) -> Any:
        """See SplitTask. The answer list too."""
        config = super().with_saved_files(config, folder)
        answers = folder / Path(config.answer_list).name
        return replace(config, answer_list=str(answers)) if answers.is_file() else config

    def checkpoint_files(self) -> Sequence[Path]:
        """The vocabulary and the answer list: with them a checkpoint answers questions on its own."""
        return (*super().checkpoint_files(), Path(self.config.answer_list))


def as_annotation(record: WeightedVQARecord) -> dict:
    """A record in the form of the official annotations: each answer as often as ten people gave it."""
    counts = [max(1, round(weight * HUMAN_ANSWERS)) for weight in record.weights]
    given = [answer for answer, count in zip(record.answers, counts) for _ in range(count)]
    answers = [{"answer": text, "answer_id": number} for number, text in enumerate(given, start=1)]
    return {"question_id": record.question_id, "answers": answers}
