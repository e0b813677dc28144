"""Answers of a VQA classifier: the official accuracy and the result file of the evaluation server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.data.records import VQARecord
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.data.vqa.results import write_results
from pyutils.metrics.predictions import Predictions
from pyutils.metrics.vqa import VQAAccuracy, evaluate_answers

RESULT_FILE = "result.json"


def as_annotations(records: Sequence[VQARecord]) -> Iterator[dict[str, Any]]:
    """Records in the form of the official annotations, which the official evaluation takes."""
    for record in records:
        yield {
            "question_id": record.question_id,
            "question_type": record.question_type,
            "answer_type": record.answer_type,
            "answers": [{"answer": text, "answer_id": number} for number, text in enumerate(record.answers, start=1)],
        }


class SplitAnswers(Predictions):
    """The answers given to every question of a split, in the order of its records.

    `chosen` `[n]` int64: the classes chosen (see `metrics.vqa.best_answers`).
    """

    def __init__(self, records: Sequence[VQARecord], chosen: np.ndarray, answers: AnswerVocabulary):
        self.records = records
        self.texts = [answers[number] for number in chosen.tolist()]

    @property
    def judged(self) -> bool:
        """Whether the split has human answers to compare with."""
        return len(self.records) > 0 and bool(self.records[0].answers)

    def accuracy(self) -> VQAAccuracy:
        """The official accuracy, overall and by type."""
        ids = (record.question_id for record in self.records)
        return evaluate_answers(as_annotations(self.records), dict(zip(ids, self.texts)))

    def metrics(self) -> dict[str, float]:
        """`accuracy` and `accuracy/<answer type>`, in percent; nothing for a split without human answers."""
        if not self.judged:
            return {}
        return {name: value for name, value in self.accuracy().as_metrics().items() if not name.endswith("/")}

    def write(self, directory: Path) -> list[Path]:
        """Write `result.json` for the evaluation server."""
        path = directory / RESULT_FILE
        ids = [record.question_id for record in self.records]
        write_results(path, ids, self.texts, expected=ids)
        return [path]
