"""easy-VQA (real images, 48,248 questions; the PyPI package `easy-vqa`) as VQA v2 files and region features."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np

from pyutils.data.features.spec import RegionFeatures
from pyutils.data.features.window_descriptor import DETECTOR, DIMENSION, PROVENANCE, describe_windows, window_boxes
from pyutils.extras import need
from pyutils.sample.region_files import write_npy, write_spec
from pyutils.sample.stamp import make_once
from pyutils.sample.vocabulary import write_vocabulary
from pyutils.sample.vqa_files import ANSWERS_PER_QUESTION, Question, write_answer_list, write_imdb, write_official

VERSION = 1

_VALIDATION_SHARE = 0.1
_SPLITS = ("train2014", "val2014", "test2015")
# First words that determine a question's type, the more specific ones first.
_QUESTION_TYPES = (
    *("what color is", "what shape is", "what shape does", "what is the"),
    *("does the image not contain", "does the image contain", "is there not a", "is there a", "is no", "is a"),
)


def make_easy_vqa(output: Path, seed: int = 0, overwrite: bool = False) -> bool:
    """Write easy-VQA in VQA v2's formats below `output`, unless it is complete there.

    A seeded tenth of the training images, with all their questions, becomes the split val2014, so that the test part
    is not used for selection; train2014 is the rest, test2015 the package's test part (with its annotations).

    Writes: `images/SPLIT/COCO_SPLIT_ID.png`, `VQA2/annotations/` (questions, annotations, `imdb_SPLIT.npy`),
    `VQA2/extras/vocabs/answers_vqa.txt`, `vocab.txt`, and `X_COCO/data/detectron_fix_100/fc6/vqa/SPLIT/` with
    `NAME.npy` `[35, 192]` float32 and `NAME_info.npy`, described by a `spec.json`.

    Returns:
        True when files were written, False when the folder was complete.

    Raises:
        InputError: the package is missing, or `output` has other files, or another seed's without `overwrite`.
    """
    parameters = {"sample": "easy-vqa", "version": VERSION, "seed": seed, "descriptor": PROVENANCE}

    def make(folder: Path) -> dict:
        questions, files = _read(seed)
        _write_texts(folder, questions)
        _write_images(folder, files)
        return {split: {"pictures": len(files[split]), "questions": len(questions[split])} for split in _SPLITS}

    return make_once(Path(output), parameters, make, overwrite)


def _package():
    need("sample", "easy_vqa", "easy-VQA's data")
    import easy_vqa

    return easy_vqa


def _read(seed: int) -> tuple[dict[str, list[Question]], dict[str, dict[str, str]]]:
    """Questions of each split, and the image files of each split: image name -> the package's file."""
    package = _package()
    train, test = package.get_train_image_paths(), package.get_test_image_paths()
    chosen = np.random.default_rng(seed).permutation(len(train))[: round(_VALIDATION_SHARE * len(train))]
    held_out = {sorted(train)[index] for index in chosen}
    questions: dict[str, list[Question]] = {split: [] for split in _SPLITS}
    files: dict[str, dict[str, str]] = {split: {} for split in _SPLITS}
    # Ids start at 1 and continue through the test part: unique in the whole set, as COCO's are.
    for first_id, paths, rows in (
        (1, train, package.get_train_questions()),
        (1 + len(train), test, package.get_test_questions()),
    ):
        splits = {i: "test2015" if paths is test else "val2014" if i in held_out else "train2014" for i in paths}
        for number in sorted(paths):
            files[splits[number]][_name(splits[number], first_id + number)] = paths[number]
        counts: Counter[int] = Counter()
        for text, answer, number in zip(*rows):
            split, image_id = splits[number], first_id + number
            kind = next((start for start in _QUESTION_TYPES if text.startswith(start)), "none of the above")
            question_id = image_id * 1000 + counts[number]
            counts[number] += 1
            answers = (answer,) * ANSWERS_PER_QUESTION
            questions[split].append(Question(question_id, image_id, _name(split, image_id), text, kind, answers))
    return questions, files


def _name(split: str, image_id: int) -> str:
    return f"COCO_{split}_{image_id:012d}"


def _write_texts(folder: Path, questions: dict[str, list[Question]]) -> None:
    annotations, training = folder / "VQA2/annotations", questions["train2014"]
    known = write_answer_list(folder / "VQA2/extras/vocabs/answers_vqa.txt", training)
    for split, asked in questions.items():
        write_official(annotations, split, asked, "easy-VQA, converted")
        write_imdb(annotations / f"imdb_{split}.npy", asked, known, has_answer=split != "test2015")
    write_vocabulary(folder / "vocab.txt", [text for question in training for text in (question.text, question.answer)])


def _write_images(folder: Path, files: dict[str, dict[str, str]]) -> None:
    """Copy the images under their COCO names and describe the windows of each."""
    from PIL import Image

    features = folder / "X_COCO/data/detectron_fix_100/fc6/vqa"
    for split, paths in files.items():
        (folder / "images" / split).mkdir(parents=True)
        (features / split).mkdir(parents=True)
        pixels = []
        for name, path in paths.items():
            shutil.copyfile(path, folder / "images" / split / f"{name}.png")
            with Image.open(path) as image:
                pixels.append(np.asarray(image.convert("RGB")))
        height, width = pixels[0].shape[:2]
        boxes = window_boxes(width, height)
        for name, described in zip(paths, describe_windows(np.stack(pixels))):
            write_npy(features / split, name, RegionFeatures(described, boxes, width, height))
        # Readers look for the spec in the folder that they are given: a split's, or one above all of them.
        for described_folder in (features / split, features, folder / "X_COCO/data/detectron_fix_100"):
            write_spec(described_folder, DETECTOR, PROVENANCE, DIMENSION, len(boxes))
