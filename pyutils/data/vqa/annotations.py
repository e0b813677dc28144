"""VQA v2: the official questions and annotations JSON, and MMF's `imdb_*.npy`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from pyutils.data.records import VQARecord
from pyutils.data.table import RecordTable
from pyutils.data.vqa.api import check_annotation, check_question, check_same_questions, shown
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields, entries_of, image_key, read_json
from pyutils.formats.safe_pickle import load_npy

PathLike = Union[str, Path]
COCO_PATTERN = "COCO_{split}_{id:012d}"


def read(path: PathLike, annotations: Optional[PathLike] = None, **options: str) -> RecordTable[VQARecord]:
    """`read_imdb` for a `.npy` file, else `read_official`. Train + val is the `concat` of two tables."""
    if Path(path).suffix == ".npy":
        if annotations is not None:
            raise InputError(f"{path}: an imdb holds its own answers; leave out the annotations file {annotations}")
        return read_imdb(path)
    return read_official(path, annotations, **options)


def read_official(
    questions: PathLike, annotations: Optional[PathLike] = None, image_pattern: str = COCO_PATTERN
) -> RecordTable[VQARecord]:
    """Records of the official files, in the order of the questions file; without `annotations` they have no answers.

    `image_pattern` makes the image key from `{split}` (the file's "data_subtype"; "test-dev2015" asks about images of
    "test2015") and `{id}` (the image id). Raises InputError when a file is not of this kind, or when the two are not
    about the same questions and images.
    """
    questions = Path(questions)
    content = read_json(questions)
    entries = list(entries_of(content, "questions", ("question_id", "image_id", "question"), questions))
    for number, entry in entries:
        check_question(entry, f"{questions}: entry {number} of questions")
    labels = {} if annotations is None else _annotations_by_id(Path(annotations))
    if annotations is not None:
        check_same_questions({entry["question_id"]: None for _, entry in entries}, questions, labels, annotations)
    split = content.get("data_subtype", "")
    if not isinstance(split, str):
        raise InputError(f'{questions}: expected a string as "data_subtype", found {shown(split)}')
    split = split.replace("test-dev", "test")
    if "{split" in image_pattern and not split:
        raise InputError(f'{questions}: no "data_subtype" to name the images by; give image_pattern without {{split}}')
    return RecordTable(VQARecord, _official_records(entries, labels, split, image_pattern, questions))


def _official_records(
    entries: list[tuple[int, dict[str, Any]]],
    labels: Mapping[int, dict[str, Any]],
    split: str,
    pattern: str,
    path: Path,
) -> Iterator[VQARecord]:
    seen: set[int] = set()
    for number, entry in entries:
        where = f"{path}: entry {number} of questions"
        label = labels.get(entry["question_id"], {})
        if entry["question_id"] in seen:
            raise InputError(f"{where}: question_id {entry['question_id']} occurs twice")
        seen.add(entry["question_id"])
        if label and label.get("image_id", entry["image_id"]) != entry["image_id"]:
            raise InputError(
                f"{where}: question {entry['question_id']} is about image {entry['image_id']} here, but about image "
                f"{label['image_id']} in the annotations; the two files are not of one release"
            )
        try:
            image = pattern.format(split=split, id=entry["image_id"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise InputError(f'{where}: image_id {entry["image_id"]!r} does not fit "{pattern}" ({error})') from error
        yield VQARecord(
            question_id=entry["question_id"],
            image=image,
            question=entry["question"],
            answers=tuple(answer["answer"] for answer in label.get("answers", ())),
            question_type=label.get("question_type", ""),
            answer_type=label.get("answer_type", ""),
        )


def _annotations_by_id(path: Path) -> dict[int, dict[str, Any]]:
    labels: dict[int, dict[str, Any]] = {}
    for number, entry in entries_of(read_json(path), "annotations", ("question_id", "answers"), path):
        where = f"{path}: entry {number} of annotations"
        check_annotation(entry, where)
        if entry["question_id"] in labels:
            raise InputError(f"{where}: question_id {entry['question_id']} occurs twice")
        labels[entry["question_id"]] = entry
    return labels


def read_imdb(path: PathLike) -> RecordTable[VQARecord]:
    """Records of an MMF / Pythia imdb: a pickled object array of dicts, usually after a header dict.

    `answers` are `all_answers`, or `valid_answers` where the file has only those; a test split has none. The pickle is
    read by an allow-list reader. Raises InputError when the file is no imdb.
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
            continue
        where = f"{path}: entry {number}"
        check_fields(row, ("question_id",), f"{where}: not an imdb of questions")
        question = row.get("question_str")
        if question is None and "question_tokens" in row:
            question = " ".join(_texts(row, "question_tokens", where))
        name = row.get("image_name") or row.get("feature_path")
        if not isinstance(question, str) or not isinstance(name, str):
            found = ", ".join(map(str, row))
            raise InputError(
                f'{where}: not an imdb of questions: expected "question_str" and "image_name", found {found}'
            )
        given = next((field for field in ("all_answers", "valid_answers") if field in row), None)
        answers = () if given is None else _texts(row, given, where)
        yield VQARecord(
            question_id=_imdb_id(row["question_id"], where),
            image=image_key(name[:-4] if name.endswith(".npy") else name),
            question=question,
            answers=answers,
        )


def _imdb_id(value: Any, where: str) -> int:
    """Convert a question id, which some imdbs store as text. Raises InputError at `where` for anything else."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise InputError(f'{where}: expected a whole number as "question_id", found {shown(value)}')
    return int(value)


def _texts(row: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    """A field that is a list of strings. InputError at `where`; one string is not a list of its letters."""
    value = row[field]
    if not isinstance(value, (list, tuple, np.ndarray)) or not all(isinstance(text, str) for text in value):
        raise InputError(
            f'{where}: expected a list of strings as "{field}", found {shown(value)}; leave the field out where there '
            "are none"
        )
    return tuple(map(str, value))
