"""VQA: the official questions and annotations JSON, MMF's `imdb_*.npy`, and the forms of `pyutils.data.vqa.forms`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from pyutils.data.annotations.fields import Types, check_types, shown, whole_number
from pyutils.data.records import VQARecord
from pyutils.data.table import RecordTable
from pyutils.data.vqa.forms import read_gqa, read_list
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields, entries_of, first_key, holds_list, path_key, read_json
from pyutils.formats.safe_pickle import load_npy

PathLike = Union[str, Path]
Entries = dict[int, dict[str, Any]]
_IMDB_ANSWERS = ("all_answers", "answers", "valid_answers")
COCO_PATTERN = "COCO_{split}_{id:012d}"

_QUESTION: Types = {"question_id": int, "image_id": (int, str), "question": str}
_ANNOTATION: Types = {"question_id": int, "image_id": (int, str), "question_type": str, "answer_type": str}


def read(path: PathLike, annotations: Optional[PathLike] = None, **options: str) -> RecordTable[VQARecord]:
    """Read questions in any known form: imdb (`.npy`), a list (VizWiz, own data), GQA's object, the official files."""
    reader = _complete_reader(Path(path))
    if reader is None:
        return read_official(path, annotations, **options)
    if annotations is not None:
        raise InputError(f"{path}: this file holds its own answers; leave out the annotations file {annotations}")
    return reader(Path(path))


def _complete_reader(path: Path) -> Optional[Callable[[Path], RecordTable[VQARecord]]]:
    """Return the reader of a file that holds questions and answers; None for the official questions."""
    if path.suffix == ".npy":
        return read_imdb
    if holds_list(path):
        return read_list
    return read_gqa if (first_key(path) or "").isdecimal() else None


def answers_of(path: PathLike) -> Iterator[tuple[str, ...]]:
    """Yield the human answers of each annotated question: of official annotations, or of a file `read` takes.

    Where the official annotations name the answer that most humans gave, it is the only one.
    """
    path = Path(path)
    reader = _complete_reader(path)
    if reader is not None:
        yield from (record.answers for record in reader(path) if record.answers)
        return
    for number, entry in entries_of(read_json(path), "annotations", (), path):
        where = f"{path}: entry {number} of annotations"
        check_types(entry, {"multiple_choice_answer": str}, where)
        if "multiple_choice_answer" in entry:
            yield (entry["multiple_choice_answer"],)
        else:
            check_fields(entry, ("answers",), where)
            _check_answers(entry["answers"], where)
            yield tuple(answer["answer"] for answer in entry["answers"])


def read_official(
    questions: PathLike, annotations: Optional[PathLike] = None, image_pattern: str = COCO_PATTERN
) -> RecordTable[VQARecord]:
    """Read records of the official files in the order of the questions; without `annotations` they have no answers.

    `image_pattern` makes the image key from `{split}` (the file's "data_subtype"; "test-dev2015" asks about images of
    "test2015") and `{id}` (the image id). Raises InputError as `official_entries`, and for images that the pattern
    cannot name.
    """
    content, asked, labels = official_entries(questions, annotations)
    split = content.get("data_subtype")
    if "{split" in image_pattern and not (isinstance(split, str) and split):
        raise InputError(
            f'{questions}: expected a string as "data_subtype", found {shown(split)}; image keys need it, unless '
            "image_pattern is without {split}"
        )
    split = str(split).replace("test-dev", "test")
    return RecordTable(VQARecord, _official_records(asked, labels, split, image_pattern, questions))


def official_entries(questions: PathLike, annotations: Optional[PathLike]) -> tuple[dict[str, Any], Entries, Entries]:
    """Read the questions file and the entries of both official files by question id; {} without `annotations`.

    Raises InputError naming file and entry when a file is not of this kind or lists a question twice, and when the two
    are not about the same questions and images.
    """
    content = read_json(Path(questions))
    asked = _by_id(content, "questions", ("question_id", "image_id", "question"), _QUESTION, questions)
    if annotations is None:
        return content, asked, {}
    labels = _by_id(read_json(Path(annotations)), "annotations", ("question_id", "answers"), _ANNOTATION, annotations)
    for number, entry in enumerate(labels.values()):
        _check_answers(entry["answers"], f"{annotations}: entry {number} of annotations")
    different = asked.keys() ^ labels.keys()
    if different:
        raise InputError(
            f"question {min(different)} ({len(different)} in all) is in only one of {questions} and {annotations}; "
            "give the questions and annotations of one split"
        )
    for identifier, entry in asked.items():
        image = labels[identifier].get("image_id", entry["image_id"])
        if image != entry["image_id"]:
            raise InputError(
                f"{annotations}: question {identifier} is about image {image}, but about image {entry['image_id']} in "
                f"{questions}; the two files are not of one release"
            )
    return content, asked, labels


def _by_id(content: Any, key: str, needed: tuple[str, ...], types: Types, path: PathLike) -> Entries:
    entries: Entries = {}
    for number, entry in entries_of(content, key, needed, Path(path)):
        where = f"{path}: entry {number} of {key}"
        check_types(entry, types, where)
        if entry["question_id"] in entries:
            raise InputError(f"{where}: question_id {entry['question_id']} occurs twice")
        entries[entry["question_id"]] = entry
    return entries


def _check_answers(answers: Any, where: str) -> None:
    texts = (
        [answer.get("answer") for answer in answers if isinstance(answer, dict)] if isinstance(answers, list) else []
    )
    if not texts or len(texts) < len(answers) or not all(isinstance(text, str) for text in texts):
        raise InputError(f'{where}: expected a list of answers, objects with a string "answer", found {shown(answers)}')


def _official_records(asked: Entries, labels: Entries, split: str, pattern: str, path: PathLike) -> Iterator[VQARecord]:
    for number, (identifier, entry) in enumerate(asked.items()):
        try:
            image = pattern.format(split=split, id=entry["image_id"])
        except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
            raise InputError(
                f"{path}: entry {number} of questions: image_id {entry['image_id']!r} does not fit the pattern "
                f'"{pattern}" ({error})'
            ) from error
        label = labels.get(identifier, {})
        yield VQARecord(
            question_id=identifier,
            image=image,
            question=entry["question"],
            answers=tuple(answer["answer"] for answer in label.get("answers", ())),
            question_type=label.get("question_type", ""),
            answer_type=label.get("answer_type", ""),
        )


def read_imdb(path: PathLike) -> RecordTable[VQARecord]:
    """Read records of an MMF / Pythia imdb: a pickled object array of dicts, usually after a header dict.

    `answers` are `all_answers`, else `answers` or `valid_answers`; a test split has none. Raises
    InputError when the file is no imdb of questions; pickles are read without executing them.
    """
    path = Path(path)
    rows = load_npy(path)
    if not isinstance(rows, np.ndarray) or rows.dtype != object or rows.ndim != 1:
        found = f"an array {rows.shape} of {rows.dtype}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise InputError(f"{path}: not an imdb: expected a one-dimensional object array of dicts, found {found}")
    return RecordTable(VQARecord, _imdb_records(rows, path))


def _imdb_records(rows: np.ndarray, path: Path) -> Iterator[VQARecord]:
    for number, row in enumerate(rows):
        if number == 0 and isinstance(row, dict) and "question_id" not in row:
            continue  # the header
        where = f"{path}: entry {number}"
        check_fields(row, ("question_id",), f"{where}: not an imdb of questions")
        question = row.get("question_str")
        if question is None and "question_tokens" in row:
            question = " ".join(_texts(row, "question_tokens", where))
        name = row.get("image_name") or row.get("feature_path")
        if not isinstance(question, str) or not isinstance(name, str):
            raise InputError(
                f'{where}: not an imdb of questions: expected "question_str" and "image_name", found '
                f"{', '.join(map(str, row))}"
            )
        field = next((field for field in _IMDB_ANSWERS if field in row), None)
        yield VQARecord(
            question_id=whole_number(row, "question_id", where),
            image=path_key(name[:-4] if name.endswith(".npy") else name),
            question=question,
            answers=() if field is None else _texts(row, field, where),
        )


def _texts(row: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    """Return a field that is a list of strings. InputError at `where` for others: a string is no list of letters."""
    value = row[field]
    if not isinstance(value, (list, tuple, np.ndarray)) or not all(isinstance(text, str) for text in value):
        raise InputError(
            f'{where}: expected a list of strings as "{field}", found {shown(value)}; leave the field out where there '
            "are none"
        )
    return tuple(map(str, value))
