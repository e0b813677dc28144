"""ALBEF's VQA lists and its list of answers to rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

import numpy as np

from pyutils.data.annotations.albef_lists import Paths, list_entries, text_of, texts_of, whole_number
from pyutils.data.records import WeightedVQARecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError, nearest
from pyutils.formats.json_files import read_json

VISUAL_GENOME_WEIGHT = 0.5
DATASETS = ("vqa", "vg")


def read(paths: Paths) -> RecordTable[WeightedVQARecord]:
    """Entries `{"question_id", "image", "question", "dataset": "vqa" | "vg", "answer"}`.

    `answer` is the list of human answers, repeats included, of which each weighs its share (ALBEF, appendix); in "vg"
    one answer, which weighs 0.5. Test lists have none. `dataset` is "vqa" where it is not given. Raises InputError
    naming file and entry.
    """
    return RecordTable(WeightedVQARecord, _records(paths))


def read_eval(paths: Paths) -> RecordTable[WeightedVQARecord]:
    """`read` of lists to answer: InputError also for a question id that is listed twice, since results name each once.

    Training lists may repeat ids: those of "vqa" and "vg" are numbered apart.
    """
    records = read(paths)
    ids, counts = np.unique(records.column("question_id"), return_counts=True)
    repeated = ids[counts > 1]
    if len(repeated):
        entries = list_entries(paths, ("question_id",))
        places = [where for where, entry in entries if whole_number(entry, "question_id", where) == repeated[0]]
        raise InputError(
            f"{places[1]}: question_id {repeated[0]} stands in {places[0]} already ({len(repeated)} ids are listed "
            "more than once); number the questions apart, or take the second ones out"
        )
    return records


def _records(paths: Paths) -> Iterator[WeightedVQARecord]:
    for where, entry in list_entries(paths, ("question_id", "image", "question")):
        dataset = entry.get("dataset", "vqa")
        if dataset not in DATASETS:
            raise InputError(f'{where}: unknown "dataset" {dataset!r}: {nearest(str(dataset), DATASETS)}')
        answers, weights = _weighted(entry, dataset, where)
        yield WeightedVQARecord(
            question_id=whole_number(entry, "question_id", where),
            image=text_of(entry, "image", where),
            question=text_of(entry, "question", where),
            answers=answers,
            weights=weights,
            dataset=dataset,
        )


def _weighted(entry: dict[str, Any], dataset: str, where: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    if "answer" not in entry:
        return (), ()
    # A human answer may be blank; it is trained on like the others.
    given = texts_of(entry, "answer", where, blank=True)
    counts = Counter(given)
    if dataset == "vg":
        return tuple(counts), (VISUAL_GENOME_WEIGHT,) * len(counts)
    return tuple(counts), tuple(count / len(given) for count in counts.values())


def read_answer_list(path: Union[str, Path]) -> tuple[str, ...]:
    """The answers that are ranked, in order: a JSON list of texts.

    Raises InputError when the file is not that, holds no answer, a blank one, or one twice.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise InputError(f"{path}: expected a JSON list of answers; make one with python -m pyutils.data.prepare vqa")
    answers = tuple(text_of({"answer": answer}, "answer", f"{path}: entry {n}") for n, answer in enumerate(content))
    answer, count = Counter(answers).most_common(1)[0]
    if count > 1:
        raise InputError(f"{path}: the answer {answer!r} occurs {count} times, expected once")
    return answers
