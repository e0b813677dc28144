"""ALBEF's lists: JSON files that hold a list of objects; entries of several files are chained.

`image` fields of these lists are paths below an image folder; records keep them, and `pyutils.data.images.Images` finds
them, also when the list starts its paths at another folder. Every reader raises InputError naming file and entry.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np

from pyutils.data.annotations.fields import check_known, check_types, list_entries, whole_number
from pyutils.data.annotations.nlvr2 import label_of
from pyutils.data.records import CaptionRecord, ExpressionRecord, PairRecord, WeightedVQARecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.formats.json_files import read_json
from pyutils.text.cleaning import has_words

Paths = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]
DATASETS = ("vqa", "vg")


def read_pretrain(paths: Paths) -> RecordTable[CaptionRecord]:
    """Read entries `{"image", "caption": text or list of texts}`; a task draws one caption of an entry at a time.

    `image_id` is the entry's own if present, else the image path.
    """
    return RecordTable(CaptionRecord, _captions(paths))


def read_retrieval_train(paths: Paths) -> RecordTable[CaptionRecord]:
    """Read entries `{"image", "caption": text, "image_id"}`, one record per caption; equal ids are the same image."""
    return RecordTable(CaptionRecord, _captions(paths, one_caption=True))


def read_retrieval_eval(paths: Paths) -> RecordTable[CaptionRecord]:
    """Read entries `{"image", "caption": list of texts}`, one record per image, with all captions that describe it.

    An image must not be listed twice: each entry's captions would count as wrong for the other.
    """
    return RecordTable(CaptionRecord, _captions_once(paths))


def _captions(paths: Paths, one_caption: bool = False) -> Iterator[CaptionRecord]:
    for where, entry in _entries(paths, ("image", "caption", "image_id") if one_caption else ("image", "caption")):
        captions = texts_of(entry, "caption", where)
        wordless = [caption for caption in captions if not has_words(caption)]
        if wordless:
            raise InputError(
                f'{where}: "caption" has no letter or digit: {wordless[0]!r}; fill it or take the entry out of the list'
            )
        if one_caption and len(captions) > 1:
            raise InputError(
                f"{where}: expected one caption, found {len(captions)}; this looks like an evaluation list, training "
                "lists have an entry for each caption"
            )
        check_types(entry, {"image_id": (int, str)}, where)
        image = text_of(entry, "image", where)
        yield CaptionRecord(image, captions, entry.get("image_id", image))


def _captions_once(paths: Paths) -> Iterator[CaptionRecord]:
    seen: set[str] = set()
    for number, record in enumerate(_captions(paths)):
        if record.image in seen:
            raise InputError(
                f"{paths}: entry {number}: the image {record.image} is listed twice; an evaluation list has one entry "
                "per image, with all its captions"
            )
        seen.add(record.image)
        yield record


def read_vqa(paths: Paths) -> RecordTable[WeightedVQARecord]:
    """Read entries `{"question_id", "image", "question", "dataset": "vqa" | "vg", "answer"}`.

    `answer` is the list of human answers with repeats, weighted by their share (ALBEF, appendix); in "vg" one answer of
    weight 0.5. Test lists have none. `dataset` is "vqa" by default.
    """
    return RecordTable(WeightedVQARecord, _vqa(paths))


def read_vqa_eval(paths: Paths) -> RecordTable[WeightedVQARecord]:
    """`read_vqa` of lists to answer, where a question id may occur only once: result files list each once.

    Training lists may repeat ids: "vqa" and "vg" number their questions independently.
    """
    records = read_vqa(paths)
    ids, counts = np.unique(records.column("question_id"), return_counts=True)
    repeated = ids[counts > 1]
    if len(repeated):
        entries = _entries(paths, ("question_id",))
        first, second, *_ = (at for at, entry in entries if whole_number(entry, "question_id", at) == repeated[0])
        raise InputError(
            f"{second}: question_id {repeated[0]} is already in {first} ({len(repeated)} ids are listed more than "
            "once); give each question its own id, or remove the repeated ones"
        )
    return records


def _vqa(paths: Paths) -> Iterator[WeightedVQARecord]:
    for where, entry in _entries(paths, ("question_id", "image", "question")):
        dataset = entry.get("dataset", "vqa")
        check_known(dataset, DATASETS, "dataset", where)
        yield WeightedVQARecord(
            question_id=whole_number(entry, "question_id", where),
            image=text_of(entry, "image", where),
            question=text_of(entry, "question", where),
            # A human answer may be blank; it is trained on like the others.
            answers=texts_of(entry, "answer", where, blank=True) if "answer" in entry else (),
            question_type=str(entry.get("question_type", "")),
            answer_type=str(entry.get("answer_type", "")),
            dataset=dataset,
        )


def read_answer_list(path: Union[str, Path]) -> tuple[str, ...]:
    """Read the answers to rank, in order: a JSON list of texts, none blank, none twice."""
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
    """Read entries `{"images": [left, right], "sentence", "label": "True" | "False", "identifier"}`.

    "label" and "identifier" are optional; the default identifier is "FILE: entry N".
    """
    return RecordTable(PairRecord, _nlvr2(paths))


def _nlvr2(paths: Paths) -> Iterator[PairRecord]:
    for where, entry in _entries(paths, ("images", "sentence")):
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


def read_grounding(paths: Paths) -> RecordTable[ExpressionRecord]:
    """Read entries `{"image", "text", "ref_id"}` with "image_id", "split" and "box" (x, y, w, h in pixels) if present.

    The lists of `pyutils.data.prepare` have all of them.
    """
    return RecordTable(ExpressionRecord, _grounding(paths))


def _grounding(paths: Paths) -> Iterator[ExpressionRecord]:
    for where, entry in _entries(paths, ("image", "text", "ref_id")):
        yield ExpressionRecord(
            image=text_of(entry, "image", where),
            expression=text_of(entry, "text", where),
            ref_id=whole_number(entry, "ref_id", where),
            image_id=whole_number({"image_id": -1, **entry}, "image_id", where),
            split=str(entry.get("split", "")),
            box=None if entry.get("box") is None else tuple(_boxes([entry["box"]], where)[0].tolist()),
        )


def read_detections(path: Union[str, Path]) -> dict[int, np.ndarray]:
    """Read the detected boxes of each image (`dets.json`): [n, 4] float64, x, y, width, height in pixels.

    Further numbers of a box (its score) are ignored.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict) or not all(map(str.isdecimal, content)):
        raise InputError(
            f"{path}: expected an object from image id to boxes; make one with python -m pyutils.data.prepare refcoco+"
        )
    return {int(key): _boxes(boxes, f"{path}: image {key}") for key, boxes in content.items()}


def _boxes(boxes: Any, where: str) -> np.ndarray:
    """Convert boxes of at least four numbers to [n, 4] float64. Raises InputError at `where` for anything else."""
    try:
        found = np.array([(x, y, width, height) for x, y, width, height, *_ in boxes], dtype=np.float64).reshape(-1, 4)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: expected boxes of x, y, width, height ({error})") from error
    bad = np.flatnonzero(~(np.isfinite(found).all(axis=1) & (found[:, 2:] > 0).all(axis=1)))
    if len(bad):
        raise InputError(
            f"{where}: box {bad[0]} is {found[bad[0]].tolist()}; expected x, y, width, height in pixels, with a width "
            "and a height above 0"
        )
    return found


def _entries(paths: Paths, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`list_entries` of one file or of several after each other."""
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        yield from list_entries(Path(path), needed, "; python -m pyutils.data.prepare makes lists of official files")


def text_of(entry: dict[str, Any], field: str, where: str) -> str:
    """Return the text of a field. Raises InputError if it is something else or blank."""
    check_types(entry, {field: str}, where)
    return texts_of(entry, field, where)[0]


def texts_of(entry: dict[str, Any], field: str, where: str, blank: bool = False) -> tuple[str, ...]:
    """Return the texts of a field that holds one or a list of them.

    Raises InputError if it is something else, an empty list, or has a blank text, unless `blank` allows these.
    """
    texts = entry[field] if isinstance(entry[field], list) else [entry[field]]
    for text in texts:
        check_types({field: text}, {field: str}, where)
    if not texts or not (blank or all(map(str.strip, texts))):
        raise InputError(f'{where}: "{field}" is empty; fill it or take the entry out of the list')
    return tuple(texts)
