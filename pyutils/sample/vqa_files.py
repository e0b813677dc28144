"""Writers of the VQA v2 files: official JSON, MMF imdb, answer list."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.formats.atomic import atomic_write, write_json

UNKNOWN_ANSWER = "<unk>"
ANSWERS_PER_QUESTION = 10


@dataclass(frozen=True)
class Question:
    """One question about one image with its ten answers, the most frequent one first in `answers`."""

    question_id: int
    image_id: int
    image_name: str
    text: str
    question_type: str
    answers: tuple[str, ...]

    @property
    def answer(self) -> str:
        """The answer most people gave; of equally frequent ones, the first in the list."""
        return Counter(self.answers).most_common(1)[0][0]

    @property
    def answer_type(self) -> str:
        """The official class of the answer: "yes/no", "number" or "other"."""
        if self.answer in ("yes", "no"):
            return "yes/no"
        return "number" if self.answer.isdigit() else "other"


def write_official(folder: Path, subtype: str, questions: Sequence[Question], description: str) -> None:
    """Write the questions and the annotations file of one split, named and laid out as VQA v2 distributes them.

    `subtype` is the split's COCO name, e.g. "train2014".
    """
    head: dict[str, Any] = {
        "info": {"description": description, "version": "1.0", "year": 2014},
        "data_type": "mscoco",
        "data_subtype": subtype,
        "license": {"name": "none", "url": ""},
    }
    asked = [{"image_id": q.image_id, "question": q.text, "question_id": q.question_id} for q in questions]
    write_json(
        folder / f"v2_OpenEnded_mscoco_{subtype}_questions.json",
        {**head, "task_type": "Open-Ended", "questions": asked},
        indent=None,
    )
    write_json(
        folder / f"v2_mscoco_{subtype}_annotations.json",
        {**head, "annotations": [_annotation(q) for q in questions]},
        indent=None,
    )


def _annotation(question: Question) -> dict[str, Any]:
    return {
        "question_type": question.question_type,
        "multiple_choice_answer": question.answer,
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": number}
            for number, answer in enumerate(question.answers, start=1)
        ],
        "image_id": question.image_id,
        "answer_type": question.answer_type,
        "question_id": question.question_id,
    }


def write_answer_list(path: Path, questions: Iterable[Question]) -> list[str]:
    """Write `answers_vqa.txt`: `<unk>`, then every answer by falling frequency (ties alphabetically)."""
    counts = Counter(question.answer for question in questions)
    answers = [UNKNOWN_ANSWER, *sorted(counts, key=lambda answer: (-counts[answer], answer))]
    with atomic_write(path) as stream:
        stream.write("\n".join(answers) + "\n")
    return answers


def write_imdb(
    path: Path, questions: Sequence[Question], known_answers: Iterable[str], has_answer: bool = True
) -> None:
    """Write an MMF imdb: a pickled object array, a header first, then one dict per question.

    `valid_answers` are the given answers in the answer list, `["<unk>"]` when none is. Without `has_answer` the
    entries have no answers, as those of the test split.
    """
    header = {"create_time": "2018-10-01 12:00", "dataset_name": "vqa", "version": 1}
    known = set(known_answers)
    entries: list[dict[str, Any]] = [{**header, "has_answer": has_answer, "has_gt_layout": False}]
    for question in questions:
        entry: dict[str, Any] = {
            "image_name": question.image_name,
            "image_id": question.image_id,
            "question_id": question.question_id,
            "feature_path": f"{question.image_name}.npy",
            "question_str": question.text,
            "question_tokens": re.findall(r"\w+|[^\w\s?]", question.text.lower()),
        }
        if has_answer:
            entry["all_answers"] = list(question.answers)
            entry["valid_answers"] = [a for a in question.answers if a in known] or [UNKNOWN_ANSWER]
        entries.append(entry)
    with atomic_write(path, "wb") as stream:
        np.save(stream, np.array(entries, dtype=object), allow_pickle=True)
