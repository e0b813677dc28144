"""VQA lists of GQA, OK-VQA and VizWiz, and the answers to rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyutils.data.prepare.lists import Lists, Need, Tree
from pyutils.data.records import VQARecord
from pyutils.data.table import RecordTable
from pyutils.data.vqa.annotations import read_official
from pyutils.data.vqa.answers import AnswerVocabulary, count_answers
from pyutils.data.vqa.forms import read_gqa, read_list


@dataclass(frozen=True)
class QuestionSet:
    """Files and images of one data set.

    splits: list -> its files, questions and answers or both in one. read: reads the files of a split. image: the path
    of a record's image below the first of `folders`. minimum: questions that an answer to rank must be given to.
    """

    splits: dict[str, tuple[Need, ...]]
    read: Callable[[list[Path]], RecordTable[VQARecord]]
    image: Callable[[VQARecord], str]
    folders: tuple[str, ...]
    minimum: int

    @property
    def needs(self) -> tuple[Need, ...]:
        """All files of all splits."""
        return tuple(need for needs in self.splits.values() for need in needs)


def _gqa(split: str, name: str, optional: bool = False) -> tuple[Need, ...]:
    paths = tuple(f"{folder}/{name}_questions.json" for folder in ("gqa", "gqa/questions", "gqa/questions1.2"))
    return (Need(paths, f"questions of {split}", optional),)


def _okvqa(split: str) -> tuple[Need, ...]:
    names = (f"OpenEnded_mscoco_{split}_questions.json", f"mscoco_{split}_annotations.json")
    return tuple(
        Need((f"okvqa/{name}", f"ok_vqa/{name}", f"OK-VQA/{name}"), f"{what} of {split}")
        for name, what in zip(names, ("questions", "answers"))
    )


def _vizwiz(split: str, optional: bool = False) -> tuple[Need, ...]:
    paths = (f"vizwiz/{split}.json", f"vizwiz/Annotations/{split}.json", f"vizwiz/annotations/{split}.json")
    return (Need(paths, f"questions of {split}", optional),)


SETS: dict[str, QuestionSet] = {
    "gqa": QuestionSet(
        {
            "train": _gqa("train", "train_balanced"),
            "val": _gqa("val", "val_balanced"),
            "testdev": _gqa("test-dev", "testdev_balanced", optional=True),
            "test": _gqa("test", "submission_all", optional=True),
        },
        read=lambda files: read_gqa(files[0], image_paths=True),
        image=lambda record: record.image,
        folders=("gqa",),
        minimum=1,
    ),
    "okvqa": QuestionSet(
        {"train": _okvqa("train2014"), "val": _okvqa("val2014")},
        read=lambda files: read_official(files[0], files[1]),
        image=lambda record: f"{record.image.split('_')[1]}/{record.image}.jpg",
        folders=("coco",),
        minimum=2,
    ),
    "vizwiz": QuestionSet(
        {"train": _vizwiz("train"), "val": _vizwiz("val"), "test": _vizwiz("test", optional=True)},
        read=lambda files: read_list(files[0], image_paths=True),
        image=lambda record: f"{record.image.split('_')[1]}/{record.image}",
        folders=("vizwiz",),
        minimum=2,
    ),
}


def build(tree: Tree, lists: Lists, name: str) -> None:
    """Write NAME_SPLIT.json as far as the files exist, and of the training split NAME_answers.json."""
    known = SETS[name]
    for split, needs in known.splits.items():
        files = [tree.find(need) for need in needs]
        found = [file for file in files if file is not None]
        if len(found) < len(needs):
            continue
        lists.write(f"{name}_{split}.json", _entries(known.read(found), known.image), tree.folder(*known.folders))
        if split == "train":
            _write_answers(name, found[-1], known.minimum, lists)


def _write_answers(name: str, annotations: Path, minimum: int, lists: Lists) -> None:
    counts = count_answers([annotations])
    ranked = AnswerVocabulary.build(counts, minimum, unknown=False).answers
    lists.write_value(f"{name}_answers.json", list(ranked), len(ranked))
    covered = sum(counts[answer] for answer in ranked)
    lists.notes.append(
        f"{name}_answers.json: {len(ranked):,} of {len(counts):,} answers, given to {minimum} questions or more, "
        f"covering {covered / sum(counts.values()):.1%} of {sum(counts.values()):,} training questions"
    )


def _entries(records: RecordTable[VQARecord], image: Callable[[VQARecord], str]) -> Iterator[dict[str, Any]]:
    for record in records:
        entry: dict[str, Any] = {
            "question_id": record.question_id,
            "question": record.question,
            "image": image(record),
            "dataset": "vqa",
        }
        types = {"question_type": record.question_type, "answer_type": record.answer_type}
        entry.update({field: value for field, value in types.items() if value})
        yield {**entry, "answer": list(record.answers)} if record.answers else entry
