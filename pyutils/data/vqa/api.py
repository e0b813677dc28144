"""Questions and annotations of VQA v2 by id, image and type."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Optional, Union

from pyutils.errors import InputError
from pyutils.formats.json_files import entries_of, read_json

PathLike = Union[str, Path]
_Ids = Optional[Union[int, str, Collection]]
_LARGEST_SHOWN = 60


class VQA:
    """The official question and annotation files of one split, or either alone.

    Raises InputError when neither is given, a file is not of this kind (`check_question`, `check_annotation`), an id
    occurs twice, or the two files are not about the same questions.
    """

    def __init__(self, questions: Optional[PathLike] = None, annotations: Optional[PathLike] = None) -> None:
        if questions is None and annotations is None:
            raise InputError("VQA needs a questions file, an annotations file, or both")
        self._questions = {} if questions is None else _by_id(Path(questions), "questions", ("question", "image_id"))
        self._annotations = {} if annotations is None else _by_id(Path(annotations), "annotations", ("answers",))
        if self._questions and self._annotations:
            check_same_questions(self._questions, questions, self._annotations, annotations)
        self._by_image: dict[Any, list[int]] = {}
        for question, entry in (self._annotations or self._questions).items():
            self._by_image.setdefault(entry.get("image_id"), []).append(question)

    def question_ids(self, images: _Ids = None, question_types: _Ids = None, answer_types: _Ids = None) -> list[int]:
        """Ids of the questions about any of `images` and of any of the types; a filter of None keeps all."""
        if images is None:
            chosen: Iterable[int] = self._annotations or self._questions
        else:
            chosen = (question for image in _listed(images) for question in self._by_image.get(image, ()))
        wanted = {"question_type": question_types, "answer_type": answer_types}
        filters = {field: set(_listed(values)) for field, values in wanted.items() if values is not None}
        return [
            question
            for question in chosen
            if all(self._annotations.get(question, {}).get(field) in values for field, values in filters.items())
        ]

    def image_ids(self, questions: _Ids = None) -> list[Any]:
        """Images of `questions`, or of all, each once, in the order of the file."""
        source = self._annotations or self._questions
        chosen = source if questions is None else _listed(questions)
        return list(dict.fromkeys(source[question]["image_id"] for question in chosen))

    def question(self, question_id: int) -> Mapping[str, Any]:
        """The entry of the questions file (KeyError when there is none)."""
        return self._questions[question_id]

    def annotation(self, question_id: int) -> Mapping[str, Any]:
        """The entry of the annotations file (KeyError when there is none)."""
        return self._annotations[question_id]

    def annotations(self) -> list[Mapping[str, Any]]:
        """All annotations, in the order of the file."""
        return list(self._annotations.values())


def check_same_questions(questions: Collection, questions_path: Any, annotations: Collection, path: Any) -> None:
    """Raise InputError naming both files and an id when the two collections of question ids differ."""
    for some, where, others, elsewhere in (
        (questions, questions_path, annotations, path),
        (annotations, path, questions, questions_path),
    ):
        missing = [identifier for identifier in some if identifier not in others]
        if missing:
            raise InputError(
                f"question {missing[0]} ({len(missing)} in all) is in {where} but not in {elsewhere}; "
                "give the questions and annotations of one split"
            )


def _by_id(path: Path, key: str, needed: tuple[str, ...]) -> dict[int, dict[str, Any]]:
    entries: dict[int, dict[str, Any]] = {}
    check = check_question if key == "questions" else check_annotation
    for number, entry in entries_of(read_json(path), key, ("question_id", *needed), path):
        check(entry, f"{path}: entry {number} of {key}")
        if entry["question_id"] in entries:
            raise InputError(f"{path}: question_id {entry['question_id']} occurs again as entry {number} of {key}")
        entries[entry["question_id"]] = entry
    return entries


def _listed(value: Any) -> Collection:
    return [value] if isinstance(value, (int, str)) else value


def check_question(entry: Mapping[str, Any], where: str) -> None:
    """Raise InputError at `where` unless an entry of a questions file has usable ids and a question text."""
    check_id(entry["question_id"], where)
    if type(entry["image_id"]) not in (int, str):
        raise InputError(f'{where}: expected a number or a string as "image_id", found {shown(entry["image_id"])}')
    question = entry["question"]
    if type(question) is not str:
        raise InputError(f'{where}: expected a string as "question", found {shown(question)}')


def check_annotation(entry: Mapping[str, Any], where: str) -> None:
    """Raise InputError at `where` unless an entry of an annotations file has an id and human answers.

    "answers" is a non-empty list of objects with a string "answer"; "question_type" and "answer_type" are optional.
    """
    check_id(entry["question_id"], where)
    answers = entry["answers"]
    if type(answers) is not list or not answers:
        found = "an empty one" if answers == [] else shown(answers)
        raise InputError(f"{where}: expected a list of answers, found {found}; a split without answers needs no file")
    for number, answer in enumerate(answers):
        if type(answer) is not dict or type(answer.get("answer")) is not str:
            raise InputError(
                f'{where}: answer {number}: expected an object with a string "answer", found {shown(answer)}'
            )
    for field in ("question_type", "answer_type"):
        value = entry.get(field, "")
        if type(value) is not str:
            raise InputError(f'{where}: expected a string as "{field}", found {shown(value)}')
    if type(entry.get("image_id", 0)) not in (int, str):
        raise InputError(f'{where}: expected a number or a string as "image_id", found {shown(entry["image_id"])}')


def check_id(value: Any, where: str) -> None:
    """Raise InputError at `where` unless `value` is an integer, as question ids are."""
    if type(value) is not int:
        raise InputError(f'{where}: expected a whole number as "question_id", found {shown(value)}')


def shown(value: Any) -> str:
    """Quote a value for an error message: None as JSON's null, long values cut."""
    text = "null" if value is None else ascii(value)
    return text if len(text) <= _LARGEST_SHOWN else text[:_LARGEST_SHOWN] + "…"
