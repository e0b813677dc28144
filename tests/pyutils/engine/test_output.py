from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyutils.engine.output import check_owner
from pyutils.errors import InputError
from tests.pyutils.engine.test_trainer import train, weights

ROOT = Path(__file__).parents[3]


def other_task(task):
    task.name, task.config_text = "other", "task: other\n"


def test_an_earlier_run_is_set_aside_before_the_first_step(tmp_path):
    train(tmp_path)
    (tmp_path / "metrics_test.json").write_text("{}")
    (tmp_path / "test").mkdir()
    (tmp_path / "notes.txt").write_text("of the user")
    before = weights(tmp_path / "best")

    def stop(task):
        task.nan_at = 0

    with pytest.raises(InputError, match="step"):
        train(tmp_path, "optimizer.lr=0.02", change=stop)
    assert not (tmp_path / "best").exists() and not (tmp_path / "last").exists()
    assert (tmp_path / "notes.txt").is_file()
    earlier = tmp_path / "earlier_1"
    kept = {"best", "last", "config.yaml", "metrics.json", "metrics_test.json", "log.jsonl", "test", "val"}
    assert {path.name for path in earlier.iterdir()} == kept
    assert all((before[name] == array).all() for name, array in weights(earlier / "best").items())
    train(tmp_path)
    train(tmp_path)
    assert (tmp_path / "earlier_2/best").is_dir() and (tmp_path / "best").is_dir()


def test_a_resumed_run_stays_in_place_and_keeps_its_name(tmp_path):
    train(tmp_path, "epochs=1")
    name = json.loads((tmp_path / "best/run.json").read_text())["run"]
    with pytest.warns(UserWarning, match="epochs"):
        train(tmp_path, "epochs=2", resume="auto")
    assert not list(tmp_path.glob("earlier_*"))
    state = json.loads((tmp_path / "last/state.json").read_text())
    assert state["identity"]["run"] == name == json.loads((tmp_path / "last/run.json").read_text())["run"]


def test_a_run_resumed_from_elsewhere_sets_aside_what_is_here(tmp_path):
    train(tmp_path / "first", "epochs=1")
    train(tmp_path / "second", "optimizer.lr=0.02")
    with pytest.warns(UserWarning, match="epochs"):
        train(tmp_path / "second", "epochs=2", resume=str(tmp_path / "first"))
    assert (tmp_path / "second/earlier_1/best").is_dir()


def test_a_run_of_another_task_is_refused(tmp_path):
    train(tmp_path)
    for resume in (None, "auto"):
        with pytest.raises(InputError, match=r"last: .*task toy, not of other"):
            train(tmp_path, change=other_task, resume=resume)
    assert (tmp_path / "best").is_dir() and not list(tmp_path.glob("earlier_*"))


def test_the_best_checkpoint_of_another_run_is_refused(tmp_path):
    train(tmp_path / "one")
    train(tmp_path / "two", "optimizer.lr=0.02")
    check_owner(tmp_path / "one", "toy")
    shutil.rmtree(tmp_path / "one/best")
    shutil.copytree(tmp_path / "two/best", tmp_path / "one/best")
    with pytest.raises(InputError, match="best: of another run"):
        check_owner(tmp_path / "one", "toy")
    with pytest.raises(InputError, match="best: of another run"):
        train(tmp_path / "one", resume="auto")


def test_processes_of_another_launcher_are_refused():
    code = "from pyutils import distributed; distributed.initialize()"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PADDLE_")}
    environment = {**kept, "RANK": "1", "WORLD_SIZE": "2", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "paddle.distributed.launch" in done.stderr and "process 1 of 2" in done.stderr
    alone = {**environment, "RANK": "0", "WORLD_SIZE": "1"}
    subprocess.run([sys.executable, "-c", code], env=alone, check=True, capture_output=True)
