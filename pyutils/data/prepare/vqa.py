"""VQA lists from the official questions and annotations, Visual Genome's questions, and the answers to rank."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pyutils.data.annotations.fields import list_entries
from pyutils.data.prepare.lists import Lists, Need, Tree
from pyutils.data.records import VQARecord
from pyutils.data.table import RecordTable
from pyutils.data.vqa import annotations as official
from pyutils.data.vqa.answers import AnswerVocabulary, count_answers
from pyutils.formats.json_files import check_fields
from pyutils.metrics.answer_text import normalise_prediction

MINIMUM_COUNT = 9
_PUBLISHED_ANSWERS = 3128


def _question_file(split: str, optional: bool = False) -> Need:
    name = f"v2_OpenEnded_mscoco_{split}_questions.json"
    return Need((f"vqa/Questions/{name}", f"vqa/{name}"), f"questions of {split}", optional)


def _annotation_file(split: str) -> Need:
    name = f"v2_mscoco_{split}_annotations.json"
    return Need((f"vqa/Annotations/{name}", f"vqa/{name}"), f"answers of {split}")


# list: (questions, answers)
SPLITS: dict[str, tuple[Need, Need | None]] = {
    "vqa_train.json": (_question_file("train2014"), _annotation_file("train2014")),
    "vqa_val.json": (_question_file("val2014"), _annotation_file("val2014")),
    "vqa_test.json": (_question_file("test2015", optional=True), None),
    "vqa_test_dev.json": (_question_file("test-dev2015", optional=True), None),
}
VG_QUESTIONS = Need(
    ("vg/question_answers.json", "visual_genome/question_answers.json", "vqa/question_answers.json"),
    "questions of Visual Genome",
    optional=True,
)
VG_IMAGES = Need(
    ("vg/image_data.json", "visual_genome/image_data.json", "vqa/image_data.json"),
    "folders of Visual Genome's images",
    optional=True,
)
NEEDS = (*(need for pair in SPLITS.values() for need in pair if need is not None), VG_QUESTIONS, VG_IMAGES)


def build(tree: Tree, lists: Lists, all_answers: bool = False) -> None:
    """Write vqa_{train,val,test,test_dev}.json, answer_list.json and vg_qa.json, as far as their files exist.

    Visual Genome's questions are kept if their answer is on the answer list, or all with `all_answers`.
    """
    images = tree.folder("coco")
    annotated = []
    for name, (question_need, answer_need) in SPLITS.items():
        questions = tree.find(question_need)
        answers = None if answer_need is None else tree.find(answer_need)
        if questions is None or (answer_need is not None and answers is None):
            continue
        lists.write(name, _entries(official.read(questions, answers)), images)
        annotated += [answers] if answers is not None else []
    if not annotated:
        return
    ranked = _answer_list(annotated, lists)
    questions = tree.find(VG_QUESTIONS)
    if questions is not None:
        folders = tree.find(VG_IMAGES)
        entries = _genome_entries(questions, genome_folders(folders), None if all_answers else frozenset(ranked))
        kept = lists.write("vg_qa.json", entries, tree.folder("vg", "visual_genome"))
        what = "all answers" if all_answers else "those with an answer on the answer list"
        lists.notes.append(f"vg_qa.json: {kept.entries:,} questions of Visual Genome ({what})")


def _entries(records: RecordTable[VQARecord]) -> Iterator[dict[str, Any]]:
    for record in records:
        entry: dict[str, Any] = {
            "question_id": record.question_id,
            "question": record.question,
            "image": f"{record.image.split('_')[1]}/{record.image}.jpg",
            "dataset": "vqa",
        }
        yield {**entry, "answer": list(record.answers)} if record.answers else entry


def _answer_list(annotations: list[Path], lists: Lists) -> tuple[str, ...]:
    """Write and return the answers that are the most frequent one of at least nine questions.

    Answers are normalised as in the evaluation, like those of the published list of 3,129.
    """
    counts = count_answers(annotations)
    ranked = AnswerVocabulary.build(counts, MINIMUM_COUNT, unknown=False).answers
    lists.write_value("answer_list.json", list(ranked), len(ranked))
    covered = sum(counts[answer] for answer in ranked)
    remark = (
        f"answer_list.json: {len(ranked):,} of {len(counts):,} answers, given to {MINIMUM_COUNT} questions or more, "
        f"covering {covered / sum(counts.values()):.1%} of {sum(counts.values()):,} questions"
    )
    if counts[""] >= MINIMUM_COUNT:
        remark += (
            f"; {len(ranked) + 1:,} with the empty answer, which a classifier's list counts and a ranking leaves out"
        )
    if len(annotations) < 2:
        remark += f"; from {annotations[0].name} alone, the published {_PUBLISHED_ANSWERS:,} need train and val"
    lists.notes.append(remark)
    return ranked


def genome_folders(path: Path | None) -> dict[int, str]:
    """Return the folder of each Visual Genome image ("VG_100K" or "VG_100K_2"), from the URLs in image_data.json."""
    entries = () if path is None else list_entries(path, ("image_id", "url"))
    return {entry["image_id"]: entry["url"].split("/")[-2] for _, entry in entries}


def _genome_entries(path: Path, folders: dict[int, str], ranked: Collection[str] | None) -> Iterator[dict[str, Any]]:
    for where, entry in list_entries(path, ("qas",)):
        for item in entry["qas"]:
            check_fields(item, ("qa_id", "image_id", "question", "answer"), where)
            answer = normalise_prediction(item["answer"])
            if not answer or (ranked is not None and answer not in ranked):
                continue
            folder = folders.get(item["image_id"])
            name = f"{item['image_id']}.jpg"
            yield {
                "question_id": item["qa_id"],
                "question": item["question"],
                "image": f"{folder}/{name}" if folder else name,
                "dataset": "vg",
                "answer": answer,
            }
