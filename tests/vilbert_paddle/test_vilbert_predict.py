"""Prediction with a trained ViLBERT: whole splits without labels, and single examples."""

from __future__ import annotations

import csv
import json

import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from tests.vilbert_paddle.worlds import NETWORK
from vilbert_paddle.checkpoints.weights import load_initial
from vilbert_paddle.commands import COMMANDS
from vilbert_paddle.tasks.base import with_recipe
from vilbert_paddle.tasks.multitask import TASKS, MultitaskTask
from vilbert_paddle.tasks.vcr import VCRTask


@pytest.fixture
def trained(yaml_of, tmp_path):
    def train(kind, *overrides, output="run"):
        task_class = TASKS[kind]
        config = load_config(task_class.config_class, yaml_of(kind, output), ("train.max_steps=1", *overrides))
        run_task(Run(None), with_recipe(config, task_class.heads_of(config)), task_class, load_initial)
        return tmp_path / output

    return train


def ask(checkpoint, output=None, **flags):
    given = {"checkpoint": checkpoint, **({"output": output} if output else {}), **flags}
    COMMANDS.run_prediction([text for name, value in given.items() for text in (f"--{name}", str(value))])


def rows(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("number", ["0", "-3"])
def test_fewer_than_one_answer_is_refused(capsys, number):
    with pytest.raises(SystemExit):
        COMMANDS.run_prediction(["--top", number])
    assert f"--top: expected a whole number of at least 1, found '{number}'" in capsys.readouterr().err


def test_questions_without_answers_get_a_result_file(trained, tmp_path):
    ask(trained("vqa"), tmp_path / "server", split="test")
    result = json.loads((tmp_path / "server/result.json").read_text())
    assert set(result[0]) == {"question_id", "answer"}


def test_test_questions_of_vcr_are_scored_for_every_answer(trained, tmp_path):
    checkpoint = trained("vcr", "mode=rationale")
    for given in range(2):
        ask(checkpoint, tmp_path, split="test", set=f"vcr.given_answer={given}")
    one, two = (json.loads((tmp_path / f"scores_rationale_{given}.json").read_text()) for given in range(2))
    assert one.keys() == two.keys()
    assert one != two


def test_the_leaderboards_file_and_the_three_accuracies(trained, tmp_path):
    """Two models on the test split, whose labels are hidden, and on one with labels."""
    answers = trained("vcr", output="answers")
    rationales = trained("vcr", "mode=rationale", "model.init_std=0.3", output="rationales")
    both = {"rationale_checkpoint": str(rationales)}
    ask(answers, tmp_path / "test", split="test", **both)
    with (tmp_path / "test/leaderboard.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    task = VCRTask(load_config(VCRTask.config_class, answers / "config.yaml"))
    assert [line["annot_id"] for line in lines] == [record.annot_id for record in task.records("test")]
    assert any(line["rationale_conditioned_on_a0_0"] != line["rationale_conditioned_on_a1_0"] for line in lines)
    assert not (tmp_path / "test/metrics_test.json").exists()
    ask(answers, tmp_path / "val", split="val", **both)
    found = json.loads((tmp_path / "val/metrics_val.json").read_text())
    measured = json.loads((rationales / "metrics.json").read_text())["best"]
    assert found["qa_r"] == pytest.approx(measured["accuracy"])
    assert found["q_ar"] <= min(found["q_a"], found["qa_r"])
    with pytest.raises(InputError, match="rationale and answer"):
        ask(rationales, tmp_path, split="test", rationale_checkpoint=str(answers))
    with pytest.raises(InputError, match="answer and answer"):
        ask(answers, tmp_path, split="test", rationale_checkpoint=str(answers))
    with pytest.raises(InputError, match="give --split"):
        ask(answers, tmp_path, **both)


def test_single_examples(trained, capsys):
    image = "COCO_train2014_000000000001"
    checkpoint = trained("refer")
    record = TASKS["refer"](load_config(TASKS["refer"].config_class, checkpoint / "config.yaml")).records("val")[0]
    capsys.readouterr()
    ask(checkpoint, image=record.image, text=record.expression, top=2)
    assert len(rows(capsys)) == 4
    with pytest.raises(InputError, match="no features for image"):
        ask(checkpoint, image=image.replace("0001", "9999"), text="red")
    with pytest.raises(InputError, match="give --split for result files, or --image --text for one example"):
        ask(checkpoint, image=image, text=" ")


def test_a_pair_of_pictures(trained, capsys, tmp_path):
    checkpoint = trained("nlvr2")
    record = TASKS["nlvr2"](load_config(TASKS["nlvr2"].config_class, checkpoint / "config.yaml")).records("val")[0]
    capsys.readouterr()
    ask(checkpoint, left=record.left, right=record.right, text=record.sentence)
    assert len(rows(capsys)) == 4
    ask(checkpoint, tmp_path / "server", split="test")
    assert "test1-" in (tmp_path / "server/predictions.csv").read_text()


def test_a_member_of_a_multitask_checkpoint(yaml_of, world, tmp_path):
    path = tmp_path / "multitask.yaml"
    tasks = "\ntasks:\n" + "".join(f'  {kind}: {{task: {kind}, config: "{yaml_of(kind)}"}}\n' for kind in ("ve", "vqa"))
    path.write_text(NETWORK.format(world=world, output=tmp_path / "many") + tasks)
    config = load_config(MultitaskTask.config_class, path, ("train.max_steps=1", "model.task_tokens=20"))
    run_task(Run(None), with_recipe(config, MultitaskTask.heads_of(config)), MultitaskTask, load_initial)
    ask(tmp_path / "many", tmp_path / "server", member="ve", split="val")
    labels = json.loads((tmp_path / "server/labels.json").read_text())
    assert labels == json.loads((tmp_path / "many/val/ve/labels.json").read_text())
    with pytest.raises(InputError, match="--member names one"):
        ask(tmp_path / "many", member="vee", split="val")


def test_flags_that_do_not_fit(trained):
    with pytest.raises(InputError, match="--checkpoint is missing"):
        COMMANDS.run_prediction([])
    with pytest.raises(InputError, match="--image is not for vilbert_retrieval"):
        ask(trained("retrieval"), image="x", text="y")
