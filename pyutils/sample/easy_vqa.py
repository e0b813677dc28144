"""easy-VQA (real pictures, 48,248 questions; the PyPI package `easy-vqa`) as VQA v2 files and region features."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyutils.extras import need
from pyutils.sample.descriptor import DETECTOR, DIMENSION, PROVENANCE, describe_windows, window_boxes
from pyutils.sample.region_files import Regions, write_npy, write_spec
from pyutils.sample.stamp import make_once
from pyutils.sample.vocabulary import write_vocabulary
from pyutils.sample.vqa_files import (
    ANSWERS_PER_QUESTION,
    Question,
    answer_type,
    write_answer_list,
    write_imdb,
    write_official,
)

VERSION = 1
VALIDATION_SHARE = 0.1
FEATURES = Path("X_COCO/data/detectron_fix_100/fc6/vqa")
ANNOTATIONS = Path("VQA2/annotations")
ANSWER_LIST = Path("VQA2/extras/vocabs/answers_vqa.txt")

_SPLITS = ("train2014", "val2014", "test2015")
# First words that name a question's type, the more particular ones first.
_QUESTION_TYPES = (
    *("what color is", "what shape is", "what shape does", "what is the"),
    *("does the image not contain", "does the image contain", "is there not a", "is there a", "is no", "is a"),
)


def convert(output: Path, seed: int = 0, overwrite: bool = False) -> bool:
    """Write easy-VQA in VQA v2's formats below `output`; nothing is done when that is there already.

    A seeded tenth of the training pictures, with all their questions, becomes the split val2014; train2014 is the rest,
    test2015 the package's test part (its annotations are written too), so that the test part need not choose anything.

    Writes: `images/SPLIT/COCO_SPLIT_ID.png`, `VQA2/annotations/` (questions, annotations, `imdb_SPLIT.npy`),
    `VQA2/extras/vocabs/answers_vqa.txt`, `vocab.txt`, and `X_COCO/data/detectron_fix_100/fc6/vqa/SPLIT/` with
    `NAME.npy` `[35, 192]` float32 and `NAME_info.npy`, described by a `spec.json`.

    Returns:
        True when files were written, False when they were there.

    Raises:
        InputError: the package is missing, or `output` holds other files, or another seed's without `overwrite`.
    """
    parameters = {"sample": "easy-vqa", "version": VERSION, "seed": seed, "descriptor": PROVENANCE}

    def make(folder: Path) -> dict:
        questions, sources = _read(seed)
        _write_texts(folder, questions)
        _write_pictures(folder, sources)
        return {split: {"pictures": len(sources[split]), "questions": len(questions[split])} for split in _SPLITS}

    return make_once(Path(output), parameters, make, overwrite)


def _package():
    need("sample", "easy_vqa", "easy-VQA's data")
    import easy_vqa

    return easy_vqa


def _read(seed: int) -> tuple[dict[str, list[Question]], dict[str, dict[str, str]]]:
    """Questions of each split, and of each split image name -> path of the package's picture."""
    package = _package()
    train, test = package.get_train_image_paths(), package.get_test_image_paths()
    chosen = np.random.default_rng(seed).permutation(len(train))[: round(VALIDATION_SHARE * len(train))]
    held_out = {int(sorted(train)[place]) for place in chosen}
    # Ids start at 1 and go on through the test part: unique in the whole set, as COCO's are.
    place = {("train", i): ("val2014" if i in held_out else "train2014", i + 1) for i in train}
    place.update({("test", i): ("test2015", len(train) + i + 1) for i in test})
    paths = {**{("train", i): path for i, path in train.items()}, **{("test", i): path for i, path in test.items()}}
    sources: dict[str, dict[str, str]] = {split: {} for split in _SPLITS}
    for key in sorted(place, key=lambda key: place[key][1]):
        split, image_id = place[key]
        sources[split][image_name(split, image_id)] = paths[key]
    questions: dict[str, list[Question]] = {split: [] for split in _SPLITS}
    for part, rows in (("train", package.get_train_questions()), ("test", package.get_test_questions())):
        asked: dict[int, int] = {}
        for text, answer, picture in zip(*rows):
            split, image_id = place[part, picture]
            number = asked[picture] = asked.get(picture, -1) + 1
            questions[split].append(_question(split, image_id, number, text, answer))
    return questions, sources


def image_name(split: str, image_id: int) -> str:
    """The name COCO gives a picture, without its ending: `COCO_train2014_000000000042`."""
    return f"COCO_{split}_{image_id:012d}"


def _question(split: str, image_id: int, number: int, text: str, answer: str) -> Question:
    kind = next((start for start in _QUESTION_TYPES if text.startswith(start)), "none of the above")
    name = image_name(split, image_id)
    answers = (answer,) * ANSWERS_PER_QUESTION
    return Question(image_id * 1000 + number, image_id, name, text, kind, answer_type(answer), answers)


def _write_texts(folder: Path, questions: dict[str, list[Question]]) -> None:
    annotations = folder / ANNOTATIONS
    known = write_answer_list(folder / ANSWER_LIST, questions["train2014"])
    for split, asked in questions.items():
        write_official(annotations, split, asked, "easy-VQA, converted")
        write_imdb(annotations / f"imdb_{split}.npy", asked, known, has_answer=split != "test2015")
    write_vocabulary(folder / "vocab.txt", _training_texts(questions["train2014"]))


def _training_texts(questions: Sequence[Question]) -> list[str]:
    return [text for question in questions for text in (question.text, question.answer)]


def _write_pictures(folder: Path, sources: dict[str, dict[str, str]]) -> None:
    """Copy the pictures under their COCO names and describe the windows of each."""
    from PIL import Image

    for split, paths in sources.items():
        pictures, features = folder / "images" / split, folder / FEATURES / split
        pictures.mkdir(parents=True)
        features.mkdir(parents=True)
        pixels = []
        for name, path in paths.items():
            shutil.copyfile(path, pictures / f"{name}.png")
            with Image.open(path) as picture:
                pixels.append(np.asarray(picture.convert("RGB")))
        height, width = pixels[0].shape[:2]
        boxes = window_boxes(width, height)
        for name, described in zip(paths, describe_windows(np.stack(pixels))):
            write_npy(features, name, Regions(described, boxes, width, height))
        example = Regions(np.zeros((1, DIMENSION), np.float32), boxes, width, height)
        # Readers look for the spec in the folder that they are given: a split's, or the one above all of them.
        for place in (features, folder / FEATURES, folder / "X_COCO/data/detectron_fix_100"):
            write_spec(place, DETECTOR, PROVENANCE, example, max_regions=len(boxes))
