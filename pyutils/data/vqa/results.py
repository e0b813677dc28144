"""Result files for the VQA evaluation server (a JSON list of {"question_id", "answer"}) and a classifier's accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np

from pyutils.data.annotations.fields import check_types
from pyutils.data.records import VQARecord
from pyutils.data.vqa.forms import ResultForm, result_entries
from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.formats.json_files import check_fields, read_json
from pyutils.metrics.predictions import Predictions
from pyutils.metrics.vqa import CURRENT_VERSION, VQAAccuracy, evaluate_answers

PathLike = Union[str, Path]
RESULT_FILE = "result.json"


def write_results(path: PathLike, question_ids: Iterable[int], answers: Iterable[str]) -> None:
    """Write answers in the server's form, atomically. Raises InputError for a repeated id, which the server refuses."""
    entries = [{"question_id": int(name), "answer": str(answer)} for name, answer in zip(question_ids, answers)]
    _by_question(entries, path)
    write_json(path, entries, indent=None)


def read_results(path: PathLike, expected: Iterable[int]) -> dict[int, str]:
    """Read the answers of a result file by question id.

    Raises InputError for a file that is not a list of such entries, for repeated ids, and unless the ids are those
    `expected`.
    """
    content = read_json(Path(path))
    if not isinstance(content, list):
        raise InputError(f'{path}: expected a list of {{"question_id", "answer"}}, found {type(content).__name__}')
    for number, entry in enumerate(content):
        check_fields(entry, ("question_id", "answer"), f"{path}: entry {number}")
        check_types(entry, {"question_id": int, "answer": str}, f"{path}: entry {number}")
    answers, questions = _by_question(content, path), set(expected)
    for ids, problem in ((questions - answers.keys(), "have no answer"), (answers.keys() - questions, "are not known")):
        if ids:
            raise InputError(
                f"{path}: {len(ids)} of {len(questions)} questions {problem}, e.g. question {min(ids)}; predict the "
                "whole split and no other"
            )
    return answers


def _by_question(entries: list[dict[str, Any]], path: PathLike) -> dict[int, str]:
    answers: dict[int, str] = {}
    for number, entry in enumerate(entries):
        if entry["question_id"] in answers:
            raise InputError(f"{path}: question {entry['question_id']} is answered twice, again in entry {number}")
        answers[entry["question_id"]] = entry["answer"]
    return answers


def as_annotations(records: Iterable[VQARecord]) -> Iterator[dict[str, Any]]:
    """Convert records to the form of the official annotations, which the official evaluation takes."""
    for record in records:
        yield {
            "question_id": record.question_id,
            "question_type": record.question_type,
            "answer_type": record.answer_type,
            "answers": [{"answer": text, "answer_id": number} for number, text in enumerate(record.answers, start=1)],
        }


class SplitAnswers(Predictions):
    """The answers given to every question of a split, in the order of its records.

    `chosen` [n] int64: the classes chosen (see `metrics.vqa.best_answers`). `version`: of the official evaluation.
    `form`: of the result file.
    """

    def __init__(
        self,
        records: Sequence[VQARecord],
        chosen: np.ndarray,
        answers: Sequence[str],
        version: int = CURRENT_VERSION,
        form: ResultForm = "vqa",
    ):
        self.records, self.version, self.form = records, version, form
        self.texts = [answers[number] for number in chosen.tolist()]

    def accuracy(self) -> VQAAccuracy:
        """Compute the official accuracy, overall and by type."""
        ids = (record.question_id for record in self.records)
        return evaluate_answers(as_annotations(self.records), dict(zip(ids, self.texts)), self.version)

    def conditions(self) -> dict[str, Any]:
        """Return the version of the evaluation."""
        return {"vqa_evaluation": self.version}

    def metrics(self) -> dict[str, float]:
        """Return `accuracy` and `accuracy/<answer type>`, in percent; {} for a split without human answers."""
        if not self.records[0].answers:
            return {}
        return {name: value for name, value in self.accuracy().as_metrics().items() if not name.endswith("/")}

    def write(self, directory: Path) -> list[Path]:
        """Write `result.json` for the evaluation server, in its form."""
        path = directory / RESULT_FILE
        if self.form == "vqa":
            write_results(path, (record.question_id for record in self.records), self.texts)
        else:
            write_json(path, list(result_entries(self.form, self.records, self.texts)), indent=None)
        return [path]
