"""VCR's JSON lines and metadata, and texts that point at objects."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from pyutils.data.annotations import vcr
from pyutils.data.annotations.vcr import NEUTRAL_NAMES, neutral_names, plain_text
from pyutils.data.records import TaggedText
from pyutils.errors import InputError

LINE = {
    "annot_id": "train-0",
    "img_fn": "film_1/1054_film@0.jpg",
    "metadata_fn": "film_1/1054_film@0.json",
    "objects": ["person", "dog", "person"],
    "question": ["Why", "is", [0, 2], "near", [1], "?"],
    "answer_choices": [[[0], "is", word, "."] for word in ("big", "small", "red", "blue")],
    "rationale_choices": [["Because", "of", [1], word, "."] for word in ("a", "b", "c", "d")],
    "answer_label": 2,
    "rationale_label": 0,
}
METADATA = {"boxes": [[0, 1, 20, 30, 0.9]] * 3, "width": 100, "height": 80, "names": LINE["objects"]}


@pytest.fixture
def write(tmp_path):
    def written(*lines, metadata=METADATA):
        folder = tmp_path / "vcr1images" / "film_1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "1054_film@0.json").write_text(json.dumps(metadata))
        path = tmp_path / "train.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path, tmp_path / "vcr1images"

    return written


def changed(**fields):
    return {**LINE, **fields}


def test_records(write):
    hidden = {name: value for name, value in LINE.items() if not name.endswith("label")}
    table = vcr.read(*write(LINE, {**hidden, "annot_id": "test-1"}))
    first, second = table
    assert first.image == "1054_film@0" and (first.width, first.height) == (100, 80)
    assert first.object_boxes == ((0.0, 1.0, 20.0, 30.0),) * 3 and first.object_names == ("person", "dog", "person")
    assert first.question == TaggedText(("Why", "is", "", "near", "", "?"), ((), (), (0, 2), (), (1,), ()))
    assert (first.answer_label, first.rationale_label) == (2, 0)
    assert (second.answer_label, second.rationale_label) == (None, None)


def test_metadata_is_optional(write):
    path, _ = write(changed(metadata_fn="gone.json"))
    record = vcr.read(path)[0]
    assert record.object_boxes == () and record.width == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (changed(question=["Is", [3], "?"]), r"line 1, question: .* its 3 objects, found \[3\]"),
        (changed(question="Is it?"), "question: expected a list of words, found str"),
        (changed(question=["Is", 3]), "expected words and lists of .*, found 3"),
        (changed(answer_choices=[["a"]] * 3), "expected 4 answer_choices, found 3"),
        (changed(rationale_label=4), "expected a number from 0 to 3 in rationale_label, found 4"),
        ({"annot_id": "x"}, 'line 1: lacks "img_fn"'),
    ],
)
def test_malformed_lines(write, line, message):
    path, _ = write(line)
    with pytest.raises(InputError, match=message):
        vcr.read(path)


def test_malformed_metadata(write):
    line = LINE
    for metadata, message in (
        ({"boxes": []}, 'film@0.json: lacks "width"'),
        ({**METADATA, "boxes": [[0, 1, 2, 3]]}, "3 objects, but .* has 1 boxes"),
        ({**METADATA, "boxes": [[0, 1]] * 3}, "expected boxes of left, top, right, bottom"),
        ({**METADATA, "boxes": ["abcd"] * 3}, "film@0.json: expected boxes"),
    ):
        path, images = write(line, metadata=metadata)
        with pytest.raises(InputError, match=message):
            vcr.read(path, images)


def test_tags_become_names():
    question = vcr.tagged_text(LINE["question"], 3, "")
    names = neutral_names(LINE["objects"])
    assert plain_text(question, names) == f"Why is {NEUTRAL_NAMES[0]} {NEUTRAL_NAMES[1]} near dog ?"


def test_names_are_drawn_in_training_and_fixed_otherwise():
    assert neutral_names(["person"] * 40)[32] == NEUTRAL_NAMES[0]
    assert neutral_names([]) == []
    drawn = {tuple(neutral_names(["person", "cat", "person"], np.random.default_rng(seed))) for seed in range(8)}
    assert len(drawn) > 4
    assert all(first != second and middle == "cat" for first, middle, second in drawn)


@pytest.mark.parametrize(
    "name", ["../secret.json", "/etc/hostname", "a/../../secret.json", "..\\secret.json", 7, "C:/x"]
)
def test_metadata_outside_the_folder_are_not_read(write, tmp_path, name):
    (tmp_path / "secret.json").write_text(json.dumps(METADATA))
    path, images = write({**LINE, "metadata_fn": name})
    with pytest.raises(InputError, match="line 1: metadata_fn .* is not a file below"):
        vcr.read(path, images)


def test_devices_pipes_and_endless_metadata_are_refused(write):
    path, images = write(LINE)
    file = images / LINE["metadata_fn"]
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="film@0.json: not a regular file"):
        vcr.read(path, images)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(InputError, match="film@0.json: not a regular file"):
        vcr.read(path, images)
    file.unlink()
    with file.open("wb") as stream:
        stream.truncate(1 << 36)  # sparse: 64 GiB that take no room
    with pytest.raises(InputError, match="film@0.json: larger than"):
        vcr.read(path, images)
