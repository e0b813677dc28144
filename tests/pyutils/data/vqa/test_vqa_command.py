from __future__ import annotations

import json
import runpy
import subprocess
import sys

import pytest

from pyutils.data.vqa.__main__ import main
from pyutils.data.vqa.annotations import official_entries
from pyutils.data.vqa.results import read_results, write_results
from pyutils.errors import InputError
from pyutils.metrics.vqa import evaluate_answers
from tests.support import golden

CASE = golden("albef/vqa_eval")
QUESTIONS, ANNOTATIONS = CASE.folder / "questions.json", CASE.folder / "annotations.json"
IDS = [entry["question_id"] for entry in CASE.json("annotations.json")["annotations"]]
ACCURACY = CASE.json("outputs.json")["accuracy"]


def changed(tmp_path, path, change):
    content = json.loads(path.read_text())
    change(content)
    copy = tmp_path / path.name
    copy.write_text(json.dumps(content))
    return copy


def test_files_that_do_not_fit(tmp_path):
    short = changed(tmp_path, ANNOTATIONS, lambda content: content["annotations"].pop(3))
    with pytest.raises(InputError, match=rf"question {IDS[3]} \(1 in all\)"):
        official_entries(QUESTIONS, short)
    double = changed(tmp_path, QUESTIONS, lambda content: content["questions"].append(content["questions"][4]))
    with pytest.raises(InputError, match=f"entry 20 of questions: question_id {IDS[4]} occurs twice"):
        official_entries(double, None)
    with pytest.raises(InputError, match='expected an object with a list "questions"'):
        official_entries(ANNOTATIONS, None)


def test_results_round_trip(tmp_path):
    path = tmp_path / "result.json"
    write_results(path, IDS, ["yes"] * 20)
    assert json.loads(path.read_text())[0] == {"question_id": IDS[0], "answer": "yes"}
    assert read_results(path, IDS) == dict.fromkeys(IDS, "yes")
    with pytest.raises(InputError, match=r"result\.json: 2 of 22 .* no answer, e\.g\. question 7;"):
        read_results(path, [*IDS, 7, 8])
    with pytest.raises(InputError, match=f"result.json: 1 of 19 .* not known, e.g. question {IDS[19]};"):
        read_results(path, IDS[:19])


def test_an_answer_given_twice_is_not_written(tmp_path):
    path = tmp_path / "result.json"
    with pytest.raises(InputError, match=f"question {IDS[0]} is answered twice, again in entry 1"):
        write_results(path, [IDS[0], IDS[0]], ["yes", "no"])
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"answers": []}, "expected a list of"),
        ([{"question_id": 1}], 'entry 0: lacks "answer"'),
        ([{"question_id": 1, "answer": 2}], 'entry 0: expected a string as "answer", found 2'),
        ([{"question_id": 1, "answer": "a"}] * 2, "question 1 is answered twice"),
    ],
)
def test_bad_result_files(tmp_path, content, message):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_results(path, [1])


def arguments(results, *more):
    paths = ["--questions", str(QUESTIONS), "--annotations", str(ANNOTATIONS), "--results", str(results)]
    return ["evaluate", *paths, *map(str, more)]


def test_the_command_prints_a_table_and_writes_the_figures(tmp_path, capsys):
    output = tmp_path / "metrics.json"
    assert main(arguments(CASE.folder / "results.json", "--output", output, "--version", 2017)) == 0
    printed = capsys.readouterr().out
    assert f"| overall |  | {ACCURACY['overall']:.2f} |" in printed
    assert f"| answer type | number | {ACCURACY['perAnswerType']['number']:.2f} |" in printed
    assert "version 2017" in printed
    written = json.loads(output.read_text())
    assert written["vqa_evaluation"] == 2017 and written["overall"] == ACCURACY["overall"]
    assert written["by_question"] == CASE.json("outputs.json")["evalQA"]


def test_the_current_version_is_the_default(capsys):
    assert main(arguments(CASE.folder / "results.json")) == 0
    given = json.loads(ANNOTATIONS.read_text())["annotations"]
    expected = evaluate_answers(given, read_results(CASE.folder / "results.json", IDS), 2021).overall
    printed = capsys.readouterr().out
    assert "version 2021" in printed and f"| overall |  | {expected:.2f} |" in printed
    assert expected != ACCURACY["overall"]


def test_one_human_answer_is_matched(tmp_path, capsys):
    answer = {"question_id": 1, "answers": [{"answer": "red", "answer_id": 1}], "image_id": 42}
    files = {
        "questions": {"questions": [{"question_id": 1, "image_id": 42, "question": "What colour is it?"}]},
        "annotations": {"annotations": [answer]},
        "results": [{"question_id": 1, "answer": "red"}],
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert main(["evaluate", *(part for name in files for part in (f"--{name}", str(tmp_path / name)))]) == 0
    assert "| overall |  | 100.00 |" in capsys.readouterr().out


def test_the_command_names_what_is_wrong(tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(CASE.json("results.json")[1:]))
    with pytest.raises(InputError, match=f"result.json: 1 of 20 questions have no answer, e.g. question {IDS[0]}"):
        main(arguments(path))


def test_it_runs_as_a_module_without_paddle(tmp_path):
    code = "import sys; from pyutils.data.vqa.__main__ import main; status = main(sys.argv[1:]); "
    code += "sys.exit(status or 'paddle' in sys.modules)"
    command = [sys.executable, "-c", code, *arguments(CASE.folder / "results.json", "--version", 2017)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert f"{ACCURACY['overall']:.2f}" in finished.stdout


def test_the_older_command_line_is_forwarded(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["pyutils.vqa", *map(str, arguments(CASE.folder / "results.json"))])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("pyutils.vqa", run_name="__main__")
    assert stopped.value.code == 0 and "| overall |" in capsys.readouterr().out
