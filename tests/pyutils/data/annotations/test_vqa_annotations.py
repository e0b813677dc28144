from __future__ import annotations

import json

import numpy as np
import pytest

from pyutils.data.vqa import annotations as vqa
from pyutils.errors import InputError
from tests.support import golden

OFFICIAL = golden("albef/vqa_eval").folder
QUESTIONS = golden("albef/vqa_eval").json("questions.json")["questions"]
FIRST, LAST = QUESTIONS[0]["question_id"], QUESTIONS[-1]["question_id"]
ANNOTATION = golden("albef/vqa_eval").json("annotations.json")["annotations"][0]
SAID = tuple(answer["answer"] for answer in ANNOTATION["answers"])
FORMATS = golden("visualbert/data_formats")
IMDBS = FORMATS.folder / "datasets/VQA2/annotations"


def official(tmp_path, change_questions=None, change_annotations=None):
    """Copies of the official files, each changed by a function of its content."""
    paths = []
    for name, change in (("questions", change_questions), ("annotations", change_annotations)):
        content = json.loads((OFFICIAL / f"{name}.json").read_text())
        if change is not None:
            change(content)
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        paths.append(path)
    return paths


def test_official_files():
    table = vqa.read(OFFICIAL / "questions.json", OFFICIAL / "annotations.json")
    questions = json.loads((OFFICIAL / "questions.json").read_text())["questions"]
    assert [record.question for record in table] == [entry["question"] for entry in questions]
    first = table[0]
    assert (first.question_id, first.image) == (FIRST, "COCO_val2014_000000000010")
    assert (first.answers, first.question_type, first.answer_type) == (SAID, ANNOTATION["question_type"], "yes/no")


def test_a_test_split_has_no_answers_and_test_dev_asks_about_test_images(tmp_path):
    questions, _ = official(tmp_path, lambda content: content.update(data_subtype="test-dev2015"))
    record = vqa.read(questions)[0]
    assert record.image == "COCO_test2015_000000000010" and record.answers == ()


def test_image_names_of_another_data_set(tmp_path):
    questions, _ = official(tmp_path, lambda content: content.pop("data_subtype"))
    assert vqa.read(questions, image_pattern="{id}")[0].image == "10"
    with pytest.raises(InputError, match="data_subtype"):
        vqa.read(questions)
    with pytest.raises(InputError, match="image_id 10 does not fit"):
        vqa.read(questions, image_pattern="{identifier}")


@pytest.mark.parametrize("split", ["train2014", "val2014", "minival2014", "test2015"])
def test_imdb_equals_its_json(split):
    table = vqa.read(IMDBS / f"imdb_{split}.npy")
    expected = FORMATS.json(f"expected/imdb_{split}.json")[1:]
    assert len(table) == len(expected)
    for record, entry in zip(table, expected):
        assert record.question_id == entry["question_id"] and record.image == entry["image_name"]
        assert record.question == entry["question_str"]
        assert list(record.answers) == entry.get("all_answers", [])


def save_imdb(path, entries):
    array = np.empty(len(entries), dtype=object)
    array[:] = entries
    np.save(path, array, allow_pickle=True)
    return path


def test_imdb_variants(tmp_path):
    entry = {"question_id": 1, "question_tokens": ["is", "it"], "feature_path": "COCO_val2014_000000000001.npy"}
    entry["valid_answers"] = ["yes"]
    record = vqa.read(save_imdb(tmp_path / "imdb.npy", [entry]))[0]
    assert (record.question, record.image, record.answers) == ("is it", "COCO_val2014_000000000001", ("yes",))


def test_a_file_that_is_no_imdb(tmp_path):
    numbers = tmp_path / "numbers.npy"
    np.save(numbers, np.zeros((3, 4), dtype=np.float32))
    with pytest.raises(InputError, match=r"numbers\.npy: not an imdb: .* found an array \(3, 4\) of float32"):
        vqa.read(numbers)
    with pytest.raises(InputError, match="entry 1: not an imdb of questions: expected an object, found str"):
        vqa.read(save_imdb(tmp_path / "text.npy", [{"version": 1}, "question"]))
    with pytest.raises(InputError, match='entry 1: not an imdb of questions: lacks "question_id"'):
        vqa.read(save_imdb(tmp_path / "captions.npy", [{"version": 1}, {"caption_str": "a"}]))
    with pytest.raises(InputError, match="entry 0: not an imdb of questions: expected"):
        vqa.read(save_imdb(tmp_path / "bare.npy", [{"question_id": 1, "image_id": 2}]))
    with pytest.raises(InputError, match=r"gone\.npy"):
        vqa.read(tmp_path / "gone.npy")
    with pytest.raises(InputError, match="leave out the annotations file"):
        vqa.read(IMDBS / "imdb_val2014.npy", OFFICIAL / "annotations.json")


def test_questions_and_annotations_of_different_splits(tmp_path):
    paths = official(tmp_path, None, lambda content: content["annotations"].pop())
    with pytest.raises(InputError, match=rf"question {LAST} \(1 in all\) .*questions.json"):
        vqa.read(*paths)
    paths = official(tmp_path, lambda content: content["questions"].pop(0), None)
    with pytest.raises(InputError, match=rf"question {FIRST} \(1 in all\) .*annotations.json"):
        vqa.read(*paths)
    paths = official(tmp_path, None, lambda content: content["annotations"][0].update(image_id=99))
    with pytest.raises(InputError, match=f"question {FIRST} is about image 99, but about image 10"):
        vqa.read(*paths)


def test_malformed_official_files(tmp_path):
    questions, annotations = official(tmp_path, lambda content: content["questions"][2].pop("image_id"))
    with pytest.raises(InputError, match='questions.json: entry 2 of questions: lacks "image_id"'):
        vqa.read(questions)
    with pytest.raises(InputError, match='annotations.json: expected an object with a list "questions"'):
        vqa.read(annotations)
    questions, annotations = official(tmp_path, lambda c: c["questions"].append(c["questions"][0]))
    with pytest.raises(InputError, match=f"question_id {FIRST} occurs twice"):
        vqa.read(questions)
    questions, annotations = official(tmp_path, None, lambda c: c["annotations"][1].update(answers="yes"))
    with pytest.raises(InputError, match="entry 1 of annotations: expected a list of answers"):
        vqa.read(questions, annotations)
    questions.write_text('{"questions": [')
    with pytest.raises(InputError, match="not valid JSON at line 1, column"):
        vqa.read(questions)
    with pytest.raises(InputError, match=r"none\.json: cannot be read"):
        vqa.read(tmp_path / "none.json")


def test_folders_of_image_names_are_kept(tmp_path):
    entries = [
        {"question_id": number, "image_name": f"{folder}/001.jpg", "question_str": "Is it?"}
        for number, folder in enumerate(("cat", "dog"))
    ]
    np.save(tmp_path / "imdb.npy", np.array(entries, dtype=object), allow_pickle=True)
    assert vqa.read_imdb(tmp_path / "imdb.npy").column("image").tolist() == ["cat/001", "dog/001"]
