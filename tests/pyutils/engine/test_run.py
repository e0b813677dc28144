"""Which weights are evaluated, and folders that cannot be written."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pyutils.config import Override, load_config
from pyutils.config.command_line import Run
from pyutils.engine.run import RunConfig, run_task
from pyutils.engine.settings import TrainConfig
from pyutils.errors import InputError
from pyutils.weights.checkpoint import load_weights, save_checkpoint
from tests.pyutils.engine.toy import ToyTask

SETTINGS = ("workers=0", "batch_size=4", "epochs=2", "optimizer.lr=0.01", "scalars=false")
MODEL = "model: {width: 8, dropout: 0.1}\n"


def initialise(model, source, may_miss):
    return load_weights(model, source, may_miss)


class Configured(ToyTask):
    def __init__(self, config, text=MODEL):
        super().__init__()
        self.config_text = text


@pytest.fixture
def config(tmp_path):
    return RunConfig(output_dir=str(tmp_path / "run"), train=load_config(TrainConfig, None, SETTINGS))


@pytest.fixture
def trained(config):
    run_task(Run(None), config, Configured, initialise)
    return config


@pytest.fixture
def zeros(tmp_path):
    """A checkpoint of zeros: its scores are all 0."""
    task = ToyTask()
    for parameter in task.model.parameters():
        parameter.set_value(parameter * 0)
    save_checkpoint(tmp_path / "zeros", task.model)
    return str(tmp_path / "zeros")


def measured(run, config, text=MODEL):
    run_task(run, config, partial(Configured, text=text), initialise)
    written = json.loads((Path(config.output_dir) / "metrics_val.json").read_text())
    assert written["split"] == "val" and written["task"] == "toy" and written["checkpoint"]
    return written["mean_score"]


def test_the_run_in_the_output_folder_wins_over_the_configured_start(trained, zeros, capsys):
    assert measured(Run(None, evaluate=True), replace(trained, init=zeros)) != 0
    assert f"evaluating {trained.output_dir}/best, the checkpoint in the output folder" in capsys.readouterr().err


def test_typed_weights_win(trained, zeros, capsys):
    typed = Run(None, (Override("init", zeros, "--model_name_or_path"),), evaluate=True)
    assert measured(typed, replace(trained, init=zeros)) == 0
    assert f"evaluating {zeros}, named on the command line" in capsys.readouterr().err


def test_weights_of_an_interrupted_run_are_named(config, tmp_path, capsys):
    def interrupted(config):
        task = Configured(config)
        task.predict = lambda loader, split: signal.raise_signal(signal.SIGTERM)
        return task

    with pytest.raises(SystemExit):
        run_task(Run(None), config, interrupted, initialise)
    capsys.readouterr()
    message = f"{config.output_dir}/last is of a run that stopped at step 9 of 18"
    measured(Run(None, evaluate=True), config)
    assert message in capsys.readouterr().err
    following = replace(config, output_dir=str(tmp_path / "next"), init=config.output_dir)
    run_task(Run(None), following, Configured, initialise)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("spelling", ["same", "relative"])
def test_flags_of_the_training_repeated_for_the_evaluation_are_ambiguous(
    config, zeros, tmp_path, monkeypatch, spelling
):
    """What is evaluated would be where the run started, not what it trained."""
    monkeypatch.chdir(tmp_path)
    given = zeros if spelling == "same" else "zeros"
    text = f"init: {zeros}\n{MODEL}"
    run_task(Run(None), replace(config, init=zeros), partial(Configured, text=text), initialise)
    typed = Run(None, (Override("init", given, "--checkpoint"),), evaluate=True)
    with pytest.raises(InputError, match=rf"{given} is ambiguous: {config.output_dir}/best was trained from it"):
        measured(typed, replace(config, init=given), text)
    assert measured(Run(None, evaluate=True), replace(config, init=zeros), text) != 0
    elsewhere = replace(config, init=given, output_dir=str(tmp_path / "other"))
    assert measured(typed, elsewhere, text) == 0


def test_the_configured_start_serves_where_there_is_no_run(config, zeros, capsys):
    assert measured(Run(None, evaluate=True), replace(config, init=zeros)) == 0
    assert f"evaluating {zeros}, the configuration's init" in capsys.readouterr().err
    with pytest.raises(InputError, match="nothing to evaluate: .*--set init=PATH"):
        measured(Run(None, evaluate=True), config)


def test_a_run_of_another_network_is_refused_with_its_settings(trained):
    with pytest.raises(InputError, match=r"best: .*\n  model.width: 8 there, 9 now\n(.|\n)*best/config.yaml"):
        measured(Run(None, evaluate=True), trained, "model: {width: 9, dropout: 0.0}\n")
    assert np.isfinite(measured(Run(None, evaluate=True), trained, "model: {width: 8, dropout: 0.0}\n"))


def test_an_output_folder_that_is_a_file_is_refused_before_anything_is_built(config, tmp_path):
    (tmp_path / "taken").write_text("x")
    for name in ("taken", "taken/below"):
        with pytest.raises(InputError, match=f"--output_dir .*{name}: .*taken is a file"):
            run_task(Run(None), replace(config, output_dir=str(tmp_path / name)), None, initialise)
