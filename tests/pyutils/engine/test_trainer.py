"""The training loop in one process."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest

from pyutils.config import load_config
from pyutils.engine import trainer as trainer_module
from pyutils.engine.determinism import seed_initial
from pyutils.engine.resume import unfinished
from pyutils.engine.settings import TrainConfig
from pyutils.engine.stop_signals import Stopped
from pyutils.engine.trainer import Trainer
from pyutils.errors import InputError
from pyutils.formats.tensor_files import read_safetensors
from pyutils.weights.checkpoint import load_state
from pyutils.weights.places import find_checkpoint
from tests.pyutils.engine.toy import ToyPredictions, ToyTask

BASE = ("workers=0", "batch_size=4", "epochs=2", "optimizer.lr=0.01", "scalars=false", "log_every=1")


def settings(*overrides):
    return load_config(TrainConfig, None, [*BASE, *overrides])


def train(folder, *overrides, resume=None, change=None, **task_options):
    cfg = settings(*overrides)
    seed_initial(cfg.seed)
    task = ToyTask(**task_options)
    if change:
        change(task)
    Trainer(task, cfg, folder).run(resume)
    return task


def weights(folder):
    return read_safetensors(folder / "model.safetensors")


def log_of(folder, kind):
    return [e for e in map(json.loads, (folder / "log.jsonl").read_text().splitlines()) if e["kind"] == kind]


def largest_difference(first, second):
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


def test_accumulated_gradients_equal_those_of_the_big_batch(tmp_path):
    train(tmp_path / "big", "batch_size=8", dropout=0.0)
    train(tmp_path / "small", "batch_size=2", "accumulation_steps=4", dropout=0.0)
    train(tmp_path / "wrong", "batch_size=2", dropout=0.0)
    big = weights(tmp_path / "big/last")
    assert largest_difference(big, weights(tmp_path / "small/last")) < 1e-6
    assert largest_difference(big, weights(tmp_path / "wrong/last")) > 1e-3


def test_a_run_writes_its_log_metrics_best_and_last(tmp_path):
    files = [tmp_path / "vocab.txt"]
    files[0].write_text("a\n")
    task = train(tmp_path / "run", "evaluate_before_training=true", files=files)
    steps = log_of(tmp_path / "run", "train")
    assert [entry["step"] for entry in steps] == list(range(1, 19))
    assert {"loss", "fit", "lr", "samples_per_second", "data_share", "epoch"} <= steps[0].keys()
    assert [entry["step"] for entry in log_of(tmp_path / "run", "eval")] == [0, 9, 18]
    assert "effective batch 4" in log_of(tmp_path / "run", "event")[0]["message"]
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["last"]["counted"] == 21 and metrics["best"]["accuracy"] >= metrics["last"]["accuracy"]
    assert (tmp_path / "run/best/vocab.txt").exists() and (tmp_path / "run/config.yaml").read_text() == "task: toy\n"
    assert task.written >= 1 and load_state(tmp_path / "run/last").values["identity"]["effective_batch"] == 4


def test_best_is_kept_when_later_evaluations_are_worse(tmp_path, monkeypatch):
    def worse_later(task):
        monkeypatch.setattr(ToyPredictions, "metrics", lambda predictions: {"accuracy": 1.0 / (1 + task.steps)})

    train(tmp_path, "eval_every_steps=4", change=worse_later)
    assert json.loads((tmp_path / "metrics.json").read_text())["best"]["step"] == 4
    assert weights(tmp_path / "best")["updates"] == 4 and weights(tmp_path / "last")["updates"] == 18


def test_a_run_without_evaluations_sets_the_best_of_an_earlier_run_aside(tmp_path, capsys):
    train(tmp_path, "max_steps=5")
    earlier = weights(tmp_path / "best")
    train(tmp_path, "max_steps=3", "eval_split=''")
    assert find_checkpoint(tmp_path) == tmp_path / "last" and weights(tmp_path / "last")["updates"] == 3
    assert largest_difference(weights(tmp_path / "earlier_1/best"), earlier) == 0
    assert f"{tmp_path}/earlier_1" in capsys.readouterr().err
    train(tmp_path, "max_steps=4")
    train(tmp_path, "max_steps=6", "eval_every_epochs=0", resume="auto")  # its own best stays
    assert weights(tmp_path / "best")["updates"] == 4


def test_max_steps_regular_saves_and_kept_checkpoints(tmp_path):
    train(tmp_path, "max_steps=5", "save_every_steps=2", "keep_every_steps=true", "eval_split=''")
    assert weights(tmp_path / "last")["updates"] == 5
    assert weights(tmp_path / "step_2")["updates"] == 2 and (tmp_path / "step_4").is_dir()
    assert not (tmp_path / "best").exists()


def test_frozen_parameters_stay_and_gather_no_gradient(tmp_path):
    task = train(tmp_path, "optimizer.frozen=['^hidden']", "max_steps=3")
    seed_initial(42)
    fresh = ToyTask().model
    np.testing.assert_array_equal(task.model.hidden.weight.numpy(), fresh.hidden.weight.numpy())
    assert task.model.hidden.weight.grad is None
    assert np.abs(task.model.output.weight.numpy() - fresh.output.weight.numpy()).max() > 1e-4


def test_a_loss_that_is_not_finite_stops_before_anything_is_saved(tmp_path):
    with pytest.raises(InputError, match=r"step 6: loss nan, fit nan\. Nothing was saved since"):
        train(tmp_path, "save_every_steps=4", change=lambda task: setattr(task, "nan_at", 5))
    assert load_state(tmp_path / "last").values["progress"]["step"] == 4
    assert all(np.isfinite(array).all() for array in weights(tmp_path / "last").values())


def test_a_loss_that_is_not_finite_can_be_skipped(tmp_path):
    def bad_once(task):
        real = task.loss

        def loss(batch):
            value, logs = real(batch)
            task.calls = getattr(task, "calls", 0) + 1
            return (value * float("nan") if task.calls == 3 else value), logs

        task.loss = loss

    train(tmp_path, "non_finite=skip", "max_steps=5", "eval_split=''", change=bad_once)
    assert weights(tmp_path / "last")["updates"] == 4
    assert any("step 3 skipped" in entry["message"] for entry in log_of(tmp_path, "event"))
    with pytest.raises(InputError, match="last 21 steps all"):
        train(tmp_path / "b", "non_finite=skip", "epochs=3", change=lambda task: setattr(task, "nan_at", 0))


def test_split_errors_come_before_training(tmp_path):
    with pytest.raises(InputError, match="training split is empty"):
        train(tmp_path, train=0)
    with pytest.raises(InputError, match="split 'val'.*is empty"):
        train(tmp_path, val=0)
    with pytest.raises(InputError, match=r"37 records.*Set train\.batch_size to at most 37"):
        train(tmp_path, "batch_size=64")
    assert not (tmp_path / "last").exists()


def test_resuming_after_a_longer_plan_is_exact(tmp_path):
    train(tmp_path / "whole", "epochs=4", "schedule.name=constant", "schedule.warmup_steps=2")
    train(tmp_path / "parts", "epochs=4", "schedule.name=constant", "schedule.warmup_steps=2", "max_steps=13")
    with pytest.warns(UserWarning, match=r"train\.max_steps: 13 there, 0 now"):
        train(tmp_path / "parts", "epochs=4", "schedule.name=constant", "schedule.warmup_steps=2", resume="auto")
    whole, parts = weights(tmp_path / "whole/last"), weights(tmp_path / "parts/last")
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    assert [entry["step"] for entry in log_of(tmp_path / "parts", "train")] == list(range(1, 37))


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("seed=43", r"train\.seed: 42 there, 43 now"),
        ("batch_size=2", "effective batch .*: 4 there, 2 now"),
        ("optimizer.weight_decay=0.3", r"train\.optimizer\.weight_decay"),
        ("schedule.name=cosine", r"train\.schedule\.name: linear there, cosine now"),
    ],
)
def test_resuming_with_other_settings_names_them(tmp_path, override, field):
    train(tmp_path, "max_steps=2", "eval_split=''")
    with pytest.raises(InputError, match=field):
        train(tmp_path, "max_steps=2", "eval_split=''", override, resume="auto")


def test_resuming_on_other_records_or_another_model_is_refused(tmp_path):
    train(tmp_path, "max_steps=2", "eval_split=''")
    with pytest.raises(InputError, match="train_records: 37 there, 36 now"):
        train(tmp_path, "max_steps=2", "eval_split=''", resume="auto", train=36)
    with pytest.raises(InputError, match="other shape"):
        train(tmp_path, "max_steps=2", "eval_split=''", resume="auto", hidden=5)


def test_resume_auto_starts_afresh_without_a_checkpoint_and_a_wrong_path_is_an_error(tmp_path):
    train(tmp_path / "new", "max_steps=1", resume="auto")
    with pytest.raises(InputError, match="no checkpoint here"):
        train(tmp_path / "new", resume=str(tmp_path / "absent"))


def test_a_signal_during_evaluation_saves_and_the_resumed_run_evaluates_first(tmp_path):
    def interrupted(task):
        def evaluate(loader, split):
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("the signal ends the evaluation")

        task.predict = evaluate

    with pytest.raises(SystemExit) as caught:
        train(tmp_path / "a", change=interrupted)
    assert caught.value.code == 143 and weights(tmp_path / "a/last")["updates"] == 9
    assert unfinished(tmp_path / "a/last") == f"{tmp_path}/a/last is of a run that stopped at step 9 of 18"
    train(tmp_path / "a", resume="auto")
    assert unfinished(tmp_path / "a/last") == unfinished(tmp_path / "a/best") == ""
    train(tmp_path / "b")
    assert (tmp_path / "a/metrics.json").read_text() == (tmp_path / "b/metrics.json").read_text()
    assert largest_difference(weights(tmp_path / "a/last"), weights(tmp_path / "b/last")) == 0


@pytest.mark.parametrize("failing", ["predict", "metrics", "write"])
def test_an_error_in_evaluation_costs_no_training(tmp_path, failing, monkeypatch):
    def broken(task):
        def fail(*arguments):
            raise InputError("answers.json: cannot be read")

        if failing == "predict":
            task.predict = fail
        else:
            monkeypatch.setattr(ToyPredictions, failing, fail)

    with pytest.raises(InputError, match="cannot be read"):
        train(tmp_path / "a", change=broken)
    assert weights(tmp_path / "a/last")["updates"] == 9
    monkeypatch.undo()
    train(tmp_path / "a", resume="auto")
    train(tmp_path / "b")
    assert (tmp_path / "a/metrics.json").read_text() == (tmp_path / "b/metrics.json").read_text()
    assert largest_difference(weights(tmp_path / "a/last"), weights(tmp_path / "b/last")) == 0


def test_a_second_ctrl_c_gets_out_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with trainer_module.StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.exit_status == 130
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped), stop.at_once():
            pass
    assert signal.getsignal(signal.SIGINT) is before


def test_evaluation_alone_writes_results_of_the_split(tmp_path):
    metrics, _ = Trainer(ToyTask(), settings(), tmp_path).evaluate("val")
    assert metrics["counted"] == 21 and (tmp_path / "val/result.txt").read_text() == "21"


def test_a_split_without_labels_is_not_evaluated(tmp_path):
    task = ToyTask()
    task.labelled = lambda split: False
    with pytest.raises(InputError, match="'val' has no labels.*accuracy"):
        Trainer(task, settings(), tmp_path).evaluate("val")


@pytest.mark.parametrize(("setting", "least"), [("epochs=0", 1), ("batch_size=0", 1), ("workers=-1", 0)])
def test_settings_out_of_range_are_named(setting, least):
    name = setting.split("=")[0]
    with pytest.raises(InputError, match=rf"{name}: expected at least {least}"):
        settings(setting)


SHORT = ("max_steps=2", "eval_split=''")


def configured(text):
    return lambda task: setattr(task, "config_text", text)


def test_resuming_with_another_loss_model_or_picture_names_every_one(tmp_path):
    before = "output_dir: a\nloss: bce\nmodel: {dropout: 0.1, layers: [1, 2]}\ntrain: {seed: 1}\nregions: {path: a/x}\n"
    train(tmp_path, *SHORT, change=configured(before))
    after = "output_dir: b\nloss: kl\nmodel: {dropout: 0.0, layers: [1, 3]}\ntrain: {seed: 2}\nregions: {path: b/x}\n"
    with pytest.raises(InputError) as caught, pytest.warns(UserWarning, match="regions.path: a/x there, b/x now"):
        train(tmp_path, *SHORT, resume="auto", change=configured(after))
    for text in ("loss: bce there, kl now", "model.dropout: 0.1 there, 0.0 now", "model.layers: [1, 2] there, [1, 3]"):
        assert text in str(caught.value)
    assert "output_dir:" not in str(caught.value) and "seed" not in str(caught.value)


def test_moved_data_and_settings_of_one_side_are_warned_of(tmp_path):
    train(tmp_path, *SHORT, change=configured("splits: [{file: a/x.json}]\nlimit: .inf\n"))
    with pytest.warns(UserWarning) as caught:
        train(tmp_path, *SHORT, resume="auto", change=configured("splits: [{file: b/x.json}]\nlimit: .inf\nnew: 3\n"))
    text = "".join(str(warning.message) for warning in caught)
    assert "splits.0.file: a/x.json there, b/x.json now" in text and "new: not set there, 3 now" in text
    assert "limit" not in text


def test_another_initial_deviation_does_not_matter_to_a_resumed_run(tmp_path):
    train(tmp_path, *SHORT, change=configured("model: {text: {init_std: 0.02}}\n"))
    train(tmp_path, *SHORT, resume="auto", change=configured("model: {text: {init_std: 0.1}}\n"))


def test_resuming_with_another_mapping_of_rates_is_refused(tmp_path):
    train(tmp_path, *SHORT)
    with pytest.raises(InputError, match=r"train.optimizer.lr_multipliers: \{\} there, \{'hidden': 2.0\} now"):
        train(tmp_path, *SHORT, "optimizer.lr_multipliers={hidden: 2}", resume="auto")


def test_resuming_on_as_many_other_records_is_refused(tmp_path):
    train(tmp_path, *SHORT)

    def reversed_records(task):
        records = task.train_records()[::-1]
        task.train_records = lambda: records

    with pytest.raises(InputError, match=r"the training records: as many \(37\), but not the same"):
        train(tmp_path, *SHORT, resume="auto", change=reversed_records)


def test_resuming_with_another_vocabulary_is_refused(tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("a\nb\n")
    train(tmp_path / "run", *SHORT, files=[vocabulary])
    train(tmp_path / "run", *SHORT, files=[vocabulary], resume="auto")
    vocabulary.write_text("b\na\n")
    with pytest.raises(InputError, match=r"vocab.txt: differs from .*last/vocab.txt"):
        train(tmp_path / "run", *SHORT, files=[vocabulary], resume="auto")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 1}', "state.json: damaged, it lacks progress, identity, optimizer"),
        ("[1]", "state.json: expected an object, found .*list"),
        ('{"version": 2}', "version 2, this program reads version 1"),
        ("{", "state.json: not valid JSON"),
    ],
)
def test_a_damaged_state_is_an_error_that_names_what_is_missing(tmp_path, text, message):
    train(tmp_path, *SHORT)
    (tmp_path / "last/state.json").write_text(text)
    with pytest.raises(InputError, match=message):
        train(tmp_path, *SHORT, resume="auto")


def test_a_state_without_a_part_is_an_error_that_names_it(tmp_path):
    train(tmp_path, *SHORT)
    values = json.loads((tmp_path / "last/state.json").read_text())
    del values["progress"]["step"], values["identity"]["task"]
    (tmp_path / "last/state.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="it lacks progress.step, identity.task"):
        train(tmp_path, *SHORT, resume="auto")
