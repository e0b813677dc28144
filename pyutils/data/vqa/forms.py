"""Questions in other forms than VQA v2's: GQA, VizWiz, and a list of one's own; and the result file each server takes.

GQA (Hudson and Manning, CVPR 2019): an object from question id to question, one answer each.
VizWiz (Gurari et al., CVPR 2018): a list of images, one question and ten answers each; some are "unanswerable".
An own list, which may be that of ALBEF: `{"question_id", "image", "question", "answer": text or list}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pyutils.data.annotations.fields import check_types, list_entries, shown, whole_number
from pyutils.data.records import VQARecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields, path_key, read_json_items

ResultForm = Literal["vqa", "gqa", "vizwiz"]
RESULT_FORM_HELP = (
    "Form of result.json: vqa (question_id, answer), gqa (questionId, prediction), vizwiz (image, answer)."
)

_MOST_DIGITS = 12
_VIZWIZ_NAME = re.compile(r"VizWiz_(train|val|test)_(\d{1,12})$")
_VIZWIZ_SPLITS = ("train", "val", "test")


def read_gqa(path: Path, image_paths: bool = False) -> RecordTable[VQARecord]:
    """Read GQA's questions in the order of the file; a test file has no answers.

    `image` is the image id, or with `image_paths` its file in GQA's archive ("images/ID.jpg"). `question_type` is the
    structural type; `answer_type` is "open" or "binary", as GQA's evaluation divides them. Raises InputError naming
    file and question.
    """
    return RecordTable(VQARecord, _gqa_records(path, image_paths))


def gqa_number(identifier: str, where: str) -> int:
    """Turn GQA's question id, up to 12 digits that may begin with zeros, into a number that no other id has."""
    if not (identifier.isdecimal() and identifier.isascii() and len(identifier) <= _MOST_DIGITS):
        raise InputError(f"{where}: expected up to {_MOST_DIGITS} digits as question id, found {shown(identifier)}")
    return len(identifier) * 10**_MOST_DIGITS + int(identifier)


def gqa_id(number: int) -> str:
    """Return GQA's question id of a number of `gqa_number`; another number as it is."""
    digits, own = divmod(number, 10**_MOST_DIGITS)
    return f"{own:0{digits}d}" if digits else str(number)


def _gqa_records(path: Path, image_paths: bool) -> Iterator[VQARecord]:
    for identifier, entry in read_json_items(path):
        where = f"{path}: question {identifier[:20]}"
        check_fields(entry, ("imageId", "question"), where)
        check_types(entry, {"imageId": (str, int), "question": str, "answer": str, "types": dict}, where)
        structure = str(entry.get("types", {}).get("structural", ""))
        yield VQARecord(
            question_id=gqa_number(identifier, where),
            image=f"images/{entry['imageId']}.jpg" if image_paths else str(entry["imageId"]),
            question=entry["question"],
            answers=(entry["answer"],) if "answer" in entry else (),
            question_type=structure,
            answer_type="" if not structure else "open" if structure == "query" else "binary",
        )


def read_list(path: Path, image_paths: bool = False) -> RecordTable[VQARecord]:
    """Read a list of questions, VizWiz's or one's own, in the order of the file.

    `image` is the image key, or with `image_paths` as the file has it. Without "question_id", a question of VizWiz has
    the number in its image's name plus 10^12 for train, 2 · 10^12 for val, 3 · 10^12 for test, another one the number
    of its entry. Raises InputError naming file and entry, also for a question id that occurs twice.
    """
    return RecordTable(VQARecord, _list_records(path, image_paths))


def _list_records(path: Path, image_paths: bool) -> Iterator[VQARecord]:
    known: set[int] = set()
    for number, (where, entry) in enumerate(list_entries(path, ("image", "question"))):
        check_types(entry, {"image": str, "question": str, "answer_type": str, "question_type": str}, where)
        key = path_key(entry["image"])
        identifier = whole_number(entry, "question_id", where) if "question_id" in entry else _number(key, number)
        if identifier in known:
            raise InputError(f"{where}: question {identifier} is listed twice; give each question its own question_id")
        known.add(identifier)
        yield VQARecord(
            question_id=identifier,
            image=entry["image"] if image_paths else key,
            question=entry["question"],
            answers=_answers(entry, where),
            question_type=entry.get("question_type", ""),
            answer_type=entry.get("answer_type", ""),
        )


def _number(key: str, entry: int) -> int:
    named = _VIZWIZ_NAME.search(key)
    if named is None:
        return entry
    return (_VIZWIZ_SPLITS.index(named[1]) + 1) * 10**_MOST_DIGITS + int(named[2])


def _answers(entry: dict[str, Any], where: str) -> tuple[str, ...]:
    """Return the answers of "answers" or "answer": a text, texts, or objects with "answer"; () where there are none."""
    found = entry.get("answers", entry.get("answer"))
    given = [] if found is None else found if isinstance(found, list) else [found]
    texts = [answer.get("answer") if isinstance(answer, dict) else answer for answer in given]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f'{where}: expected texts, or objects with a text "answer", as answers; found {shown(found)}')
    return tuple(map(str, texts))


def result_entries(form: ResultForm, records: Iterable[VQARecord], answers: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the entries of a result file for the server of GQA or VizWiz."""
    for record, answer in zip(records, answers):
        if form == "gqa":
            yield {"questionId": gqa_id(record.question_id), "prediction": str(answer)}
        else:
            yield {"image": f"{path_key(record.image).rpartition('/')[2]}.jpg", "answer": str(answer)}
