"""ALBEF's lists: JSON files that hold a list of objects; where several files are given, their entries are chained.

`image` fields of these lists are paths below an image folder, and records keep them as they are.
`pyutils.data.images.Images` finds them, also when the list starts its paths at another folder. Every reader raises
InputError naming file and entry.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from pyutils.data.annotations.nlvr2 import label_of
from pyutils.data.annotations.snli_ve import LABELS
from pyutils.data.records import (
    BoxXYWH,
    CaptionRecord,
    EntailmentRecord,
    ExpressionRecord,
    PairRecord,
    WeightedVQARecord,
)
from pyutils.data.table import RecordTable
from pyutils.errors import InputError, nearest
from pyutils.formats.json_files import check_fields, read_json
from pyutils.text.cleaning import has_words

Paths = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]
DATASETS = ("vqa", "vg")


def read_pretrain(paths: Paths) -> RecordTable[CaptionRecord]:
    """Entries `{"image", "caption": text or list of texts}`; a task draws one caption of an entry at a time.

    `image_id` is the entry's own where it has one, else the image path. Raises InputError naming file and entry.
    """
    return RecordTable(CaptionRecord, _captions(paths))


def read_retrieval_train(paths: Paths) -> RecordTable[CaptionRecord]:
    """Entries `{"image", "caption": text, "image_id"}`: one record a caption; equal `image_id`s are the same image.

    Raises InputError naming file and entry, also for an entry with several captions.
    """
    return RecordTable(CaptionRecord, _captions(paths, one_caption=True))


def read_retrieval_eval(paths: Paths) -> RecordTable[CaptionRecord]:
    """Entries `{"image", "caption": list of texts}`: one record an image, with all captions that describe it.

    Raises InputError naming file and entry, also for an image that is listed twice: its captions would count as wrong.
    """
    return RecordTable(CaptionRecord, _captions_once(paths))


def _captions(paths: Paths, one_caption: bool = False) -> Iterator[CaptionRecord]:
    for where, entry in list_entries(paths, ("image", "caption", "image_id") if one_caption else ("image", "caption")):
        captions = texts_of(entry, "caption", where)
        for caption in captions:
            if not has_words(caption):
                raise InputError(
                    f'{where}: "caption" has no letter or digit: {caption!r}; fill it or take the entry out of the list'
                )
        if one_caption and len(captions) > 1:
            raise InputError(
                f"{where}: expected one caption, found {len(captions)}; this looks like an evaluation list, training "
                "lists have an entry for each caption"
            )
        image = text_of(entry, "image", where)
        identifier = entry.get("image_id", image)
        if not isinstance(identifier, (int, str)):
            raise InputError(f'{where}: expected a number or text in "image_id", found {type(identifier).__name__}')
        yield CaptionRecord(image, captions, identifier)


def _captions_once(paths: Paths) -> Iterator[CaptionRecord]:
    seen: set[str] = set()
    for number, record in enumerate(_captions(paths)):
        if record.image in seen:
            raise InputError(
                f"{paths}: entry {number}: the image {record.image} is listed twice; an evaluation list has one entry "
                "an image, with all its captions"
            )
        seen.add(record.image)
        yield record


def read_vqa(paths: Paths) -> RecordTable[WeightedVQARecord]:
    """Entries `{"question_id", "image", "question", "dataset": "vqa" | "vg", "answer"}`.

    `answer` is the list of human answers, repeats included, of which each weighs its share (ALBEF, appendix); in "vg"
    one answer, which weighs 0.5. Test lists have none. `dataset` is "vqa" where it is not given. Raises InputError
    naming file and entry.
    """
    return RecordTable(WeightedVQARecord, _vqa(paths))


def read_vqa_eval(paths: Paths) -> RecordTable[WeightedVQARecord]:
    """`read_vqa` of lists to answer: a question id may be listed once only, since results name each once.

    Training lists may repeat ids: those of "vqa" and "vg" are numbered apart.
    """
    records = read_vqa(paths)
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


def _vqa(paths: Paths) -> Iterator[WeightedVQARecord]:
    for where, entry in list_entries(paths, ("question_id", "image", "question")):
        dataset = entry.get("dataset", "vqa")
        if dataset not in DATASETS:
            raise InputError(f'{where}: unknown "dataset" {dataset!r}: {nearest(str(dataset), DATASETS)}')
        yield WeightedVQARecord(
            question_id=whole_number(entry, "question_id", where),
            image=text_of(entry, "image", where),
            question=text_of(entry, "question", where),
            # A human answer may be blank; it is trained on like the others.
            answers=texts_of(entry, "answer", where, blank=True) if "answer" in entry else (),
            dataset=dataset,
        )


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


def read_nlvr2(paths: Paths) -> RecordTable[PairRecord]:
    """Entries `{"images": [left, right], "sentence", "label": "True" | "False"}`; "identifier" where it is given.

    Without an identifier, "FILE: entry N" stands for it. Raises InputError naming file and entry.
    """
    return RecordTable(PairRecord, _nlvr2(paths))


def _nlvr2(paths: Paths) -> Iterator[PairRecord]:
    for where, entry in list_entries(paths, ("images", "sentence")):
        images = entry["images"]
        if not isinstance(images, list) or len(images) != 2 or not all(isinstance(image, str) for image in images):
            raise InputError(f'{where}: expected two image paths in "images", found {images!r}')
        yield PairRecord(
            identifier=str(entry.get("identifier", where)),
            left=images[0],
            right=images[1],
            sentence=text_of(entry, "sentence", where),
            label=label_of(entry.get("label"), where),
        )


def read_entailment(paths: Paths) -> RecordTable[EntailmentRecord]:
    """Entries `{"image", "sentence", "label": "entailment" | "neutral" | "contradiction"}`; "identifier" where given.

    Without an identifier, "FILE: entry N" stands for it. Raises InputError naming file and entry, and the nearest label
    for one outside the set.
    """
    return RecordTable(EntailmentRecord, _entailment(paths))


def _entailment(paths: Paths) -> Iterator[EntailmentRecord]:
    for where, entry in list_entries(paths, ("image", "sentence", "label")):
        if entry["label"] not in LABELS:
            raise InputError(f"{where}: unknown label {entry['label']!r}: {nearest(str(entry['label']), LABELS)}")
        yield EntailmentRecord(
            image=text_of(entry, "image", where),
            sentence=text_of(entry, "sentence", where),
            label=entry["label"],
            identifier=str(entry.get("identifier", where)),
        )


def read_grounding(paths: Paths) -> RecordTable[ExpressionRecord]:
    """Entries `{"image", "text", "ref_id"}`; "image_id", "split" and "box" (x, y, w, h in pixels) where given.

    The lists of `pyutils.data.prepare` have all of them; for lists without boxes, look the references up in
    `pyutils.data.refer.api.Refer`. Raises InputError naming file and entry.
    """
    return RecordTable(ExpressionRecord, _grounding(paths))


def read_detections(path: Union[str, Path]) -> dict[int, np.ndarray]:
    """Detected boxes of each image (`dets.json`): [n, 4] float64, x, y, width, height in pixels, in file order.

    Numbers after the fourth (a score) are left out. Raises InputError naming file and image.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: expected an object from image id to boxes, found {type(content).__name__}; make one with "
            "python -m pyutils.data.prepare refcoco+"
        )
    return {_image_id(key, path): _boxes(value, f"{path}: image {key}") for key, value in content.items()}


def _grounding(paths: Paths) -> Iterator[ExpressionRecord]:
    for where, entry in list_entries(paths, ("image", "text", "ref_id")):
        yield ExpressionRecord(
            image=text_of(entry, "image", where),
            expression=text_of(entry, "text", where),
            ref_id=whole_number(entry, "ref_id", where),
            image_id=whole_number(entry, "image_id", where) if "image_id" in entry else -1,
            split=str(entry.get("split", "")),
            box=_box(entry.get("box"), where),
        )


def _box(value: Any, where: str) -> Optional[BoxXYWH]:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all(isinstance(edge, (int, float)) for edge in value):
        raise InputError(f'{where}: expected x, y, width, height in "box", found {value!r}')
    left, top, width, height = map(float, value)
    return left, top, width, height


def _image_id(key: str, path: Path) -> int:
    if not key.isdigit():
        raise InputError(f"{path}: expected image ids as keys, found {key!r}")
    return int(key)


def _boxes(value: Any, where: str) -> np.ndarray:
    try:
        return np.array([box[:4] for box in value], dtype=np.float64).reshape(-1, 4)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected a list of boxes x, y, width, height ({error})") from error


def list_entries(paths: Paths, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, entry) of each entry of the files; `place` is "FILE: entry N", counted from 0.

    Raises InputError when a file is missing, is no JSON list, or an entry lacks one of the fields `needed`.
    """
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        content = read_json(Path(path))
        if not isinstance(content, list):
            raise InputError(
                f"{path}: expected a JSON list of entries, found {type(content).__name__}; official files are turned "
                "into lists by python -m pyutils.data.prepare"
            )
        for number, entry in enumerate(content):
            where = f"{path}: entry {number}"
            check_fields(entry, needed, where)
            yield where, entry


def text_of(entry: dict[str, Any], field: str, where: str, blank: bool = False) -> str:
    """The text of a field. InputError when it is something else, or blank unless `blank` allows that."""
    value = entry[field]
    if not isinstance(value, str):
        raise InputError(f'{where}: expected text in "{field}", found {type(value).__name__}')
    if not blank and not value.strip():
        raise InputError(f'{where}: "{field}" is empty; fill it or take the entry out of the list')
    return value


def texts_of(entry: dict[str, Any], field: str, where: str, blank: bool = False) -> tuple[str, ...]:
    """The texts of a field that holds one or a list of them. InputError when there is none, and as for `text_of`."""
    value = entry[field]
    if not isinstance(value, list):
        return (text_of(entry, field, where, blank),)
    if not value:
        raise InputError(f'{where}: "{field}" is empty; fill it or take the entry out of the list')
    return tuple(text_of({field: item}, field, where, blank) for item in value)


def whole_number(entry: dict[str, Any], field: str, where: str) -> int:
    """The whole number of a field; digits in quotes count. InputError when it is something else."""
    value = entry[field]
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f'{where}: expected a whole number in "{field}", found {value!r}')
    return value
