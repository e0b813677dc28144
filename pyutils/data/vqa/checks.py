"""What the entries of VQA files must be: ids that fit 64 bits, texts that can be stored, lists of answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pyutils.errors import InputError

_TYPES = ("question_type", "answer_type")
_LARGEST_SHOWN = 60


def check_question(entry: Mapping[str, Any], where: str) -> None:
    """InputError at `where` unless "question_id", "image_id" and "question" of a questions file's entry have a use."""
    check_id(entry["question_id"], where)
    if type(entry["image_id"]) not in (int, str):
        raise InputError(f'{where}: expected a number or a string as "image_id", found {shown(entry["image_id"])}')
    question = entry["question"]
    if type(question) is not str:
        raise InputError(f'{where}: expected a string as "question", found {shown(question)}')
    if not question.isascii():
        check_texts((question,), where)


def check_annotation(entry: Mapping[str, Any], where: str) -> None:
    """InputError at `where` unless the entry of an annotations file has an id, and human answers; types are optional.

    "answers" is a list of objects with a string "answer", not empty; "question_type" and "answer_type" are strings.
    """
    check_id(entry["question_id"], where)
    answers = entry["answers"]
    if type(answers) is not list or not answers:
        found = "an empty one" if answers == [] else shown(answers)
        raise InputError(f"{where}: expected a list of answers, found {found}; a split without answers needs no file")
    texts: list[Any] = [answer.get("answer") if type(answer) is dict else None for answer in answers]
    for number, text in enumerate(texts):
        if type(text) is not str:
            raise InputError(
                f'{where}: answer {number}: expected an object with a string "answer", found {shown(answers[number])}'
            )
    for field in _TYPES:
        value = entry.get(field, "")
        if type(value) is not str:
            raise InputError(f'{where}: expected a string as "{field}", found {shown(value)}')
        texts.append(value)
    if type(entry.get("image_id", 0)) not in (int, str):
        raise InputError(f'{where}: expected a number or a string as "image_id", found {shown(entry["image_id"])}')
    check_texts(texts, where)


def check_id(value: Any, where: str) -> None:
    """InputError at `where` unless `value` is an integer of 64 bits, as question ids are."""
    if type(value) is not int:
        raise InputError(f'{where}: expected a whole number as "question_id", found {shown(value)}')
    if not -(2**63) <= value < 2**63:
        raise InputError(f'{where}: expected a "question_id" of at most 64 bits, found {shown(value)}')


def check_texts(texts: Iterable[str], where: str) -> None:
    """InputError at `where` when one of `texts` is half of a surrogate pair, which no text file can hold."""
    joined = "".join(texts)
    if joined.isascii():
        return
    try:
        joined.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: the text {shown(joined)} holds half a character ({joined[error.start]!r}, a lone surrogate); "
            "expected Unicode text"
        ) from error


def shown(value: Any) -> str:
    """A value as error messages quote it: JSON's null by its name, long ones cut."""
    text = "null" if value is None else ascii(value)
    return text if len(text) <= _LARGEST_SHOWN else text[:_LARGEST_SHOWN] + "…"
