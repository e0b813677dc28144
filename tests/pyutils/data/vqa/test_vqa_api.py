from __future__ import annotations

import json
import runpy
import subprocess
import sys

import pytest

from pyutils.data.vqa.__main__ import main
from pyutils.data.vqa.api import VQA
from pyutils.data.vqa.results import read_results, write_results
from pyutils.errors import InputError
from tests.support import golden

CASE = golden("albef/vqa_eval")
QUESTIONS, ANNOTATIONS = CASE.folder / "questions.json", CASE.folder / "annotations.json"
ENTRIES = CASE.json("annotations.json")["annotations"]
IDS = [entry["question_id"] for entry in ENTRIES]
ACCURACY = CASE.json("outputs.json")["accuracy"]


def ids_where(**wanted):
    """Recorded questions whose fields have these values, by hand."""
    return [e["question_id"] for e in ENTRIES if all(e[key] in values for key, values in wanted.items())]


@pytest.fixture(scope="module")
def split() -> VQA:
    return VQA(QUESTIONS, ANNOTATIONS)


def test_questions_by_image_and_type(split):
    assert len(split.question_ids()) == 20
    assert split.question_ids(images=10) == ids_where(image_id=[10])
    assert split.question_ids(images=[11, 10])[:2] == ids_where(image_id=[11])
    last = ENTRIES[-1]["question_type"]
    assert split.question_ids(question_types=last) == ids_where(question_type=[last])
    wanted = ids_where(image_id=[11], answer_type=["number", "other"])
    assert wanted and split.question_ids(images=11, answer_types=["number", "other"]) == wanted
    assert split.image_ids()[:2] == [10, 11] and split.image_ids(IDS[3]) == [11]
    assert split.question(IDS[0])["question"] == CASE.json("questions.json")["questions"][0]["question"]
    assert split.annotation(IDS[0])["answer_type"] == "yes/no"
    assert len(split.annotations()) == 20


def test_either_file_alone():
    assert VQA(questions=QUESTIONS).question_ids(images=10) == IDS[:2]
    assert VQA(annotations=ANNOTATIONS).question_ids(answer_types="number")[0] == ids_where(answer_type=["number"])[0]
    with pytest.raises(InputError, match="questions file, an annotations file"):
        VQA()


def changed(tmp_path, path, change):
    content = json.loads(path.read_text())
    change(content)
    copy = tmp_path / path.name
    copy.write_text(json.dumps(content))
    return copy


def test_files_that_do_not_fit(tmp_path):
    short = changed(tmp_path, ANNOTATIONS, lambda content: content["annotations"].pop(3))
    with pytest.raises(InputError, match=rf"question {IDS[3]} \(1 in all\)"):
        VQA(QUESTIONS, short)
    double = changed(tmp_path, QUESTIONS, lambda content: content["questions"].append(content["questions"][4]))
    with pytest.raises(InputError, match=f"question_id {IDS[4]} occurs again as entry 20"):
        VQA(double)
    with pytest.raises(InputError, match='expected an object with a list "questions"'):
        VQA(questions=ANNOTATIONS)


def test_results_round_trip(tmp_path, split):
    path = tmp_path / "result.json"
    ids = split.question_ids()
    assert write_results(path, ids, ["yes"] * 20, expected=ids) == 20
    assert json.loads(path.read_text())[0] == {"question_id": IDS[0], "answer": "yes"}
    assert read_results(path, ids) == dict.fromkeys(ids, "yes")


def test_results_that_the_server_would_refuse_are_not_written(tmp_path, split):
    path = tmp_path / "result.json"
    ids = split.question_ids()
    with pytest.raises(InputError, match=f"2 of 20 questions have no answer, e.g. question {IDS[18]}"):
        write_results(path, ids[:18], ["yes"] * 18, expected=ids)
    with pytest.raises(InputError, match="1 answers belong to no question of the split, e.g. question 7"):
        write_results(path, [*ids, 7], ["yes"] * 21, expected=ids)
    with pytest.raises(InputError, match=f"question {IDS[0]} is answered twice, again in entry 1"):
        write_results(path, [IDS[0], IDS[0]], ["yes", "no"])
    with pytest.raises(InputError, match="2 question ids but 1 answers"):
        write_results(path, [1, 2], ["yes"])
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"answers": []}, "expected a list of"),
        ([{"question_id": 1}], 'entry 0: lacks "answer"'),
        ([{"question_id": 1, "answer": 2}], "entry 0: expected a string as answer, found 2"),
        ([{"question_id": 1, "answer": "a"}] * 2, "question 1 is answered twice"),
    ],
)
def test_bad_result_files(tmp_path, content, message):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_results(path)


def arguments(results, *more):
    paths = ["--questions", str(QUESTIONS), "--annotations", str(ANNOTATIONS), "--results", str(results)]
    return ["evaluate", *paths, *map(str, more)]


def test_the_command_prints_a_table_and_writes_the_figures(tmp_path, capsys):
    output = tmp_path / "metrics.json"
    assert main(arguments(CASE.folder / "results.json", "--output", output)) == 0
    printed = capsys.readouterr().out
    assert f"| overall |  | {ACCURACY['overall']:.2f} |" in printed
    assert f"| answer type | number | {ACCURACY['perAnswerType']['number']:.2f} |" in printed
    written = json.loads(output.read_text())
    assert written["overall"] == ACCURACY["overall"]
    assert written["by_question"] == CASE.json("outputs.json")["evalQA"]


def test_the_command_names_what_is_wrong(tmp_path, capsys):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(CASE.json("results.json")[1:]))
    assert main(arguments(path)) == 2
    assert f"result.json: 1 of 20 questions have no answer, e.g. question {IDS[0]}" in capsys.readouterr().err


def test_it_runs_as_a_module_without_paddle(tmp_path):
    code = "import sys; from pyutils.data.vqa.__main__ import main; status = main(sys.argv[1:]); "
    code += "sys.exit(status or 'paddle' in sys.modules)"
    command = [sys.executable, "-c", code, *arguments(CASE.folder / "results.json")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert f"{ACCURACY['overall']:.2f}" in finished.stdout


def test_the_older_command_line_is_forwarded(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["pyutils.vqa", *map(str, arguments(CASE.folder / "results.json"))])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("pyutils.vqa", run_name="__main__")
    assert stopped.value.code == 0 and "| overall |" in capsys.readouterr().out
