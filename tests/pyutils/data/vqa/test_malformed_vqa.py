"""VQA files with wrong values in them: every one is an InputError that names file, entry and what was expected."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pyutils.data.vqa import annotations as vqa
from pyutils.data.vqa.__main__ import main
from pyutils.errors import InputError
from pyutils.formats.json_files import read_json, read_json_lines
from pyutils.metrics.vqa import evaluate_answers
from tests.support import golden

CASE = golden("albef/vqa_eval").folder

QUESTIONS = [
    ("question", None, 'expected a string as "question", found null'),
    ("question", 7, 'expected a string as "question", found 7'),
    ("question_id", [1], r'expected a whole number as "question_id", found \[1\]'),
    ("question_id", "1", "expected a whole number as \"question_id\", found '1'"),
    ("question_id", True, 'expected a whole number as "question_id", found True'),
    ("image_id", None, 'expected a whole number or a string as "image_id", found null'),
    ("image_id", {}, 'expected a whole number or a string as "image_id"'),
]
ANNOTATIONS = [
    ("answers", None, "expected a list of answers, .* found null"),
    ("answers", [], r"expected a list of answers, .* found \[\]"),
    ("answers", "yes", "expected a list of answers, .* found 'yes'"),
    ("answers", ["yes"], r"a string \"answer\", found \['yes'\]"),
    ("answers", [{"answer": "a"}, {"answer": None}], "found .*{'answer': None}"),
    ("answers", [{"answer": 3}], "found .*{'answer': 3}"),
    ("question_type", None, 'expected a string as "question_type", found null'),
    ("answer_type", None, 'expected a string as "answer_type", found null'),
    ("answer_type", ["other"], 'expected a string as "answer_type"'),
    ("question_id", [1], r'expected a whole number as "question_id", found \[1\]'),
    ("image_id", [1], 'expected a whole number or a string as "image_id"'),
]


def with_value(tmp_path, key, field, value):
    """A copy of the official file with one value of entry 2 changed."""
    content = json.loads((CASE / f"{key}.json").read_text())
    content[key][2][field] = value
    path = tmp_path / f"{key}.json"
    path.write_text(json.dumps(content))
    return path


def evaluate(questions, annotations, results):
    paths = ["--questions", questions, "--annotations", annotations, "--results", results]
    return main(["evaluate", *map(str, paths)])


@pytest.mark.parametrize(("field", "value", "message"), QUESTIONS)
def test_questions(tmp_path, field, value, message):
    path = with_value(tmp_path, "questions", field, value)
    with pytest.raises(InputError, match=rf"questions\.json: entry 2 of questions: .*{message}"):
        vqa.read(path, CASE / "annotations.json")
    with pytest.raises(InputError, match=r"questions\.json: entry 2 of questions:"):
        evaluate(path, CASE / "annotations.json", CASE / "results.json")


@pytest.mark.parametrize(("field", "value", "message"), ANNOTATIONS)
def test_annotations(tmp_path, field, value, message):
    path = with_value(tmp_path, "annotations", field, value)
    with pytest.raises(InputError, match=rf"annotations\.json: entry 2 of annotations: .*{message}"):
        vqa.read(CASE / "questions.json", path)
    with pytest.raises(InputError, match=r"annotations\.json: entry 2 of annotations:"):
        evaluate(CASE / "questions.json", path, CASE / "results.json")


@pytest.mark.parametrize("identifier", [[1], None, "1000"])
def test_results(tmp_path, identifier):
    content = json.loads((CASE / "results.json").read_text())
    content[3]["question_id"] = identifier
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"result\.json: entry 3: expected a"):
        evaluate(CASE / "questions.json", CASE / "annotations.json", path)


def test_an_annotation_without_answers_cannot_be_evaluated():
    with pytest.raises(InputError, match="question 5 has no human answers"):
        evaluate_answers([{"question_id": 5, "answers": []}], {5: "yes"})


def test_the_split_of_the_images_must_be_text(tmp_path):
    path = tmp_path / "questions.json"
    path.write_text('{"data_subtype": null, "questions": []}')
    with pytest.raises(InputError, match='expected a string as "data_subtype", found null'):
        vqa.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[" * 100_000 + "]" * 100_000, "nested too deeply"), ("[" + "7" * 5000 + "]", "not readable JSON")],
)
def test_json_that_python_cannot_hold(tmp_path, text, message):
    path = tmp_path / "deep.json"
    path.write_text(text)
    try:
        json.loads(text)
    except (RecursionError, ValueError):
        pass
    else:
        pytest.skip("this Python reads it")
    with pytest.raises(InputError, match=rf"deep\.json: .*{message}"):
        read_json(path)
    with pytest.raises(InputError, match=rf"deep\.json: line 1: .*{message}"):
        list(read_json_lines(path))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("question_id", None, 'expected a whole number as "question_id", found null'),
        ("question_id", [1], r"found \[1\]"),
        ("question_id", "x", "found 'x'"),
        ("question_id", 1.5, "found 1.5"),
        ("all_answers", None, 'expected a list of strings as "all_answers", found null'),
        ("all_answers", "yes", "expected a list of strings as \"all_answers\", found 'yes'"),
        ("all_answers", ["yes", None], "expected a list of strings"),
    ],
)
def test_imdb(tmp_path, field, value, message):
    entry = {"question_id": 1, "question_str": "is it", "image_name": "a", "all_answers": ["yes"]}
    with pytest.raises(InputError, match=rf"imdb\.npy: entry 1: .*{message}"):
        vqa.read(save_imdb(tmp_path, [{"version": 1}, {**entry, field: value}]))


@pytest.mark.parametrize("tokens", [None, 3, "is it", ["is", 4]])
def test_imdb_tokens(tmp_path, tokens):
    path = save_imdb(tmp_path, [{"question_id": 1, "question_tokens": tokens, "image_name": "a"}])
    with pytest.raises(InputError, match='entry 0: expected a list of strings as "question_tokens"'):
        vqa.read(path)


def test_imdb_ids_may_be_text_or_numpy(tmp_path):
    entry = {"question_str": "is it", "image_name": "a"}
    table = vqa.read(save_imdb(tmp_path, [{**entry, "question_id": "12"}, {**entry, "question_id": np.int64(13)}]))
    assert table.column("question_id").tolist() == [12, 13]


def save_imdb(folder, entries):
    array = np.empty(len(entries), dtype=object)
    array[:] = entries
    np.save(folder / "imdb.npy", array, allow_pickle=True)
    return folder / "imdb.npy"
