"""Result files for the VQA evaluation server (a JSON list of {"question_id", "answer"}) and a classifier's accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from pyutils.data.records import VQARecord
from pyutils.data.vqa.api import check_id, shown
from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.formats.json_files import check_fields, read_json
from pyutils.metrics.predictions import Predictions
from pyutils.metrics.vqa import VQAAccuracy, evaluate_answers

PathLike = Union[str, Path]


def write_results(
    path: PathLike,
    question_ids: Iterable[int],
    answers: Iterable[str],
    expected: Optional[Iterable[int]] = None,
) -> int:
    """Write answers in the server's form atomically; returns how many.

    With `expected`, all question ids of the split, a missing or foreign one is an InputError before anything is
    written: the server refuses such files after hours in its queue. So are a repeated id and unequal lengths.
    """
    ids, texts = [int(identifier) for identifier in question_ids], [str(answer) for answer in answers]
    if len(ids) != len(texts):
        raise InputError(f"{path}: {len(ids)} question ids but {len(texts)} answers")
    entries = [{"question_id": identifier, "answer": answer} for identifier, answer in zip(ids, texts)]
    _indexed(entries, path)
    if expected is not None:
        check_ids(ids, expected, path)
    write_json(path, entries, indent=None)
    return len(entries)


def read_results(path: PathLike, expected: Optional[Iterable[int]] = None) -> dict[int, str]:
    """The answers of a result file by question id; `expected` as in `write_results`.

    Raises InputError for a file that is not a list of such entries, and for repeated, missing or foreign ids.
    """
    content = read_json(Path(path))
    if not isinstance(content, list):
        raise InputError(f'{path}: expected a list of {{"question_id", "answer"}}, found {type(content).__name__}')
    for number, entry in enumerate(content):
        check_fields(entry, ("question_id", "answer"), f"{path}: entry {number}")
        check_id(entry["question_id"], f"{path}: entry {number}")
        if not isinstance(entry["answer"], str):
            raise InputError(f"{path}: entry {number}: expected a string as answer, found {shown(entry['answer'])}")
    answers = _indexed(content, path)
    if expected is not None:
        check_ids(answers, expected, path)
    return answers


def check_ids(found: Iterable[int], expected: Iterable[int], path: PathLike) -> None:
    """InputError naming the first of the ids that `path` lacks, or has without being asked."""
    have, want = set(found), set(expected)
    missing, extra = sorted(want - have), sorted(have - want)
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(want)} questions have no answer, e.g. question {missing[0]}; "
            "predict the whole split"
        )
    if extra:
        raise InputError(f"{path}: {len(extra)} answers belong to no question of the split, e.g. question {extra[0]}")


def _indexed(entries: list[dict], path: PathLike) -> dict[int, str]:
    answers: dict[int, str] = {}
    for number, entry in enumerate(entries):
        if entry["question_id"] in answers:
            raise InputError(f"{path}: question {entry['question_id']} is answered twice, again in entry {number}")
        answers[entry["question_id"]] = entry["answer"]
    return answers


RESULT_FILE = "result.json"


def as_annotations(records: Iterable[VQARecord]) -> Iterator[dict[str, Any]]:
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

    def __init__(self, records: Sequence[VQARecord], chosen: np.ndarray, answers: Sequence[str]):
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
