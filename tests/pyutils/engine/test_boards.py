"""Boards: what they get, where their files are, and what is said when one cannot be opened."""

from __future__ import annotations

import sys

import pytest

from pyutils.engine.boards import hyper_parameters, open_boards
from pyutils.engine.run_log import RunLog
from pyutils.errors import InputError

CONFIG = "task: toy\ntrain: {lr: 0.1, epochs: 2, bf16: true, splits: [a, b], init: null}\n"
SETTINGS = {"task": "toy", "train.lr": 0.1, "train.epochs": 2, "train.bf16": "True", "train.splits": "['a', 'b']"}
PLUGIN = """
class Recorder:
    last = None

    def __init__(self, output_dir, settings):
        self.output_dir, self.settings, self.scalars, self.closed = output_dir, settings, [], False
        Recorder.last = self

    def scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def close(self):
        self.closed = True
"""


def test_hyper_parameters_are_flat():
    assert hyper_parameters(CONFIG) == SETTINGS
    assert hyper_parameters("") == {}


def test_a_function_of_ones_own_gets_every_scalar(tmp_path, monkeypatch):
    (tmp_path / "own_board.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    log = RunLog(tmp_path / "run", 4, boards=["own_board:Recorder"], config_text=CONFIG)
    log.train(2, 0.5, {"loss": 1.5}, {"samples_per_second": 10.0, "data_share": 0.1})
    log.evaluation(4, 1.0, "val", {"accuracy": 50.0}, best=True)
    log.close()
    board = sys.modules["own_board"].Recorder.last
    assert board.settings == SETTINGS and board.output_dir == tmp_path / "run" and board.closed
    assert ("train/loss", 1.5, 2) in board.scalars and ("val/accuracy", 50.0, 4) in board.scalars


@pytest.mark.parametrize(
    ("name", "package", "folder"),
    [("visualdl", "visualdl", "vdl"), ("tensorboard", "tensorboardX", "tensorboard")],
)
def test_known_boards_write_their_files(name, package, folder, tmp_path):
    pytest.importorskip(package)
    (board,) = open_boards([name], tmp_path, CONFIG)
    board.scalar("train/loss", 1.0, 1)
    board.close()
    content = b"".join(file.read_bytes() for file in (tmp_path / folder).rglob("*") if file.is_file())
    assert b"train/loss" in content and b"train.lr" in content


def test_boards_that_cannot_be_opened(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "visualdl", None)
    assert open_boards(["visualdl"], tmp_path) == []
    assert "pip install visualdl" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    for name, message in [
        ("tensorboard", "pip install visualdl tensorboardX"),
        ("tensorbord", 'module:function.*"tensorboard"'),
        ("no_such_module:open", "no_such_module.*PYTHONPATH"),
        ("json:no_such_function", "no_such_function.*PYTHONPATH"),
    ]:
        with pytest.raises(InputError, match=message):
            open_boards([name], tmp_path)
