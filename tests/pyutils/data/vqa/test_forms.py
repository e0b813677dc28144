"""Questions of GQA, VizWiz, OK-VQA and own lists, their answer lists, scores and result files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pyutils.data.vqa import annotations as vqa
from pyutils.data.vqa.answers import count_answers
from pyutils.data.vqa.forms import gqa_id, gqa_number
from pyutils.data.vqa.results import SplitAnswers
from pyutils.data.vqa.splits import VQAConfig, VQAFiles, read_split
from pyutils.errors import InputError
from tests.pyutils.data.prepare import official_files as official


def _result(folder, records, answers, form):
    choices = sorted(set(answers))
    predicted = SplitAnswers(records, np.array([choices.index(text) for text in answers]), choices, form=form)
    (path,) = predicted.write(folder)
    return predicted.metrics(), json.loads(path.read_text())


def test_gqa(tmp_path):
    path = official.write_json(tmp_path / "gqa.json", official.gqa_questions())
    records = vqa.read(path)
    assert [(r.image, r.question, r.answers) for r in records] == [
        ("2405722", "Is it red?", ("no",)),
        ("n578564", "What is it?", ("fire hydrant",)),
        ("n1", "Who?", ()),
    ]
    metrics, result = _result(tmp_path, records[:2], ["no", "hydrant"], "gqa")
    assert metrics == {"accuracy": 50, "accuracy/binary": 100, "accuracy/open": 0}
    assert result == [
        {"questionId": "02930152", "prediction": "no"},
        {"questionId": "2930152", "prediction": "hydrant"},
    ]
    assert count_answers([path]) == {"no": 1, "fire hydrant": 1}


@pytest.mark.parametrize("identifier", ["0", "007", "201307251", "02930152", "9" * 12])
def test_ids_of_gqa_come_back(identifier):
    assert gqa_id(gqa_number(identifier, "")) == identifier


def test_ids_of_gqa_that_differ_by_zeros_stay_apart():
    ids = ["1", "01", "001", "102930152", "02930152", "2930152"]
    assert len({gqa_number(identifier, "") for identifier in ids}) == len(ids)
    for wrong in ("n1", "", "1" * 13, "\u0663"):
        with pytest.raises(InputError, match="question x: expected up to 12 digits"):
            gqa_number(wrong, "question x")


def test_vizwiz(tmp_path):
    paths = {
        s: official.write_json(tmp_path / f"{s}.json", official.vizwiz_questions(s)) for s in ("train", "val", "test")
    }
    ids = [record.question_id for path in paths.values() for record in vqa.read(path)]
    assert len(set(ids)) == 6  # the splits number their images independently
    records = vqa.read(paths["val"])
    assert [record.image for record in records] == ["VizWiz_val_00000000", "VizWiz_val_00000001"]
    metrics, result = _result(tmp_path, records, ["unanswerable", "spice"], "vizwiz")
    assert metrics == {"accuracy": 100, "accuracy/unanswerable": 100, "accuracy/other": 100}
    assert result[1] == {"image": "VizWiz_val_00000001.jpg", "answer": "spice"}
    metrics, _ = _result(tmp_path, records, ["pen", "salt"], "vizwiz")
    assert metrics["accuracy/unanswerable"] == 30  # one of ten: left out once, a third of the full score else
    assert metrics["accuracy/other"] == 0
    assert count_answers([paths["val"]]) == {"unanswerable": 1, "basil": 1}
    assert vqa.read(paths["test"])[0].answers == ()


def test_okvqa(tmp_path):
    official.okvqa(tmp_path, "val2014")
    files = VQAFiles("OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json")
    records = read_split(VQAConfig(root=str(tmp_path / "okvqa"), splits={"val": [files]}), "val")
    assert records[0].image == "COCO_val2014_000000051606"
    metrics, result = _result(tmp_path, records, ["pony tail", "braid"], "vqa")
    assert metrics == {"accuracy": 50, "accuracy/other": 50}
    assert result[0] == {"question_id": 5, "answer": "pony tail"}
    assert count_answers([tmp_path / "okvqa/mscoco_val2014_annotations.json"]) == {"pony tail": 2}


def test_own_lists(tmp_path):
    entries = [
        {"image": "shop/1.jpg", "question": "what colour?", "answer": "Red", "question_id": "7"},
        {"image": "shop/2.jpg", "question": "how many?", "answers": ["2", "two"], "answer_type": "number"},
        {"image": "shop/2.jpg", "question": "why?"},
    ]
    records = vqa.read(official.write_json(tmp_path / "own.json", entries))
    assert [(r.question_id, r.image, r.answers) for r in records] == [
        (7, "shop/1", ("Red",)),
        (1, "shop/2", ("2", "two")),
        (2, "shop/2", ()),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"x": 1}, "questions"),
        ({"12": {"question": "?"}}, 'question 12: lacks "imageId"'),
        ({"12": {"imageId": 1.5, "question": "?"}}, 'question 12: expected .* as "imageId"'),
        (
            {"12": {"imageId": "1", "question": "?"}, "a": {"imageId": "1", "question": "?"}},
            "question a: expected up to",
        ),
        ([{"image": "a.jpg"}], 'entry 0: lacks "question"'),
        ([{"image": "a.jpg", "question": "?", "answers": [{"answer": 3}]}], "entry 0: expected texts, or objects"),
        ([{"image": "a.jpg", "question": "?", "question_id": "x"}], "entry 0: expected a whole number"),
    ],
)
def test_damaged_files_name_the_entry(tmp_path, content, problem):
    with pytest.raises(InputError, match=problem):
        vqa.read(official.write_json(tmp_path / "questions.json", content))


def test_a_file_with_answers_takes_no_annotations(tmp_path):
    path = official.write_json(tmp_path / "gqa.json", official.gqa_questions())
    with pytest.raises(InputError, match="gqa.json: this file holds its own answers"):
        vqa.read(path, path)
