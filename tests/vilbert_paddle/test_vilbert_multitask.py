"""Several tasks on one ViLBERT: rounds, stop-and-go, exact resume in the middle."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from pyutils.weights import read
from tests.vilbert_paddle.worlds import NETWORK
from vilbert_paddle.checkpoints.weights import load_initial
from vilbert_paddle.config import CONFIGS
from vilbert_paddle.tasks.base import with_recipe
from vilbert_paddle.tasks.multitask import MultitaskTask


@pytest.fixture
def configured(world, yaml_of, tmp_path):
    def make(*overrides, output="run"):
        tasks = f"""
tasks:
  refer: {{task: refer, config: "{yaml_of("refer")}"}}
  ve: {{task: ve, config: "{yaml_of("ve")}", share: 2}}
  vcr: {{task: vcr, config: "{yaml_of("vcr")}", share: 4, weight: 0.5}}
"""
        path = tmp_path / f"multitask_{output}.yaml"
        path.write_text(NETWORK.format(world=world, output=tmp_path / output) + tasks, encoding="utf-8")
        config = load_config(MultitaskTask.config_class, path, overrides)
        return with_recipe(config, MultitaskTask.heads_of(config))

    return make


def batch_of(task):
    rounds = task.train_records()
    arrays = task.collate([rounds[place] for place in range(8)], np.random.default_rng(0), True)
    return {name: paddle.to_tensor(array) for name, array in arrays.items()}


def test_a_batch_has_every_tasks_share_and_the_losses_add_up(configured):
    task = MultitaskTask(configured())
    assert sorted(task.model.heads.keys()) == ["entailment", "match", "region"]
    batch = batch_of(task)
    assert [batch[f"{name}/labels"].shape[0] for name in ("refer", "ve", "vcr")] == [8, 4, 2]
    task.model.eval()
    total, logs = task.loss(batch)
    expected = logs["refer"].item() + logs["ve"].item() + 0.5 * logs["vcr"].item()
    assert total.item() == pytest.approx(expected, rel=1e-6)
    assert len(task.train_records()) == max(len(part.task.train_records()) for part in task.parts.values())


def test_a_resting_task_takes_part_in_every_fourth_step(configured):
    task = MultitaskTask(configured())
    batch = batch_of(task)
    task.parts["ve"].rule.stopped = True
    taking = []
    for step in range(8):
        task.after_step(step)
        taking.append("ve" in task.loss(batch)[1])
    assert taking == [True, False, False, False] * 2


def test_training_evaluates_every_task(configured, tmp_path):
    run_task(Run(None), configured("train.max_steps=6"), MultitaskTask, load_initial)
    best = json.loads((tmp_path / "run/metrics.json").read_text())["best"]
    scores = [best[f"{name}/accuracy"] for name in ("refer", "ve", "vcr")]
    assert best["mean"] == pytest.approx(np.mean(scores))
    for name in ("val/refer/result.json", "val/ve/labels.json", "val/vcr/scores_answer.json"):
        assert (tmp_path / "run" / name).is_file()


class StoppingTask(MultitaskTask):
    def after_step(self, step):
        super().after_step(step)
        if step == 10:
            raise KeyboardInterrupt


def test_a_run_killed_in_the_middle_ends_as_the_whole_one(configured, tmp_path):
    """Also the counters of stop-and-go: with this threshold every task rests after its first two scores."""
    settings = ("train.max_steps=16", "train.eval_every_steps=3", "train.save_every_steps=4")
    settings += ("stop_and_go.threshold=1000", "stop_and_go.cooldown=0", "stop_and_go.continue_threshold=0.9")
    run_task(Run(None), configured(*settings, output="whole"), MultitaskTask, load_initial)
    killed = configured(*settings, output="killed")
    with pytest.raises(KeyboardInterrupt):
        run_task(Run(None), killed, StoppingTask, load_initial)
    run_task(Run(None, resume="auto"), killed, MultitaskTask, load_initial)
    one, two = (read(tmp_path / name / "last/model.safetensors") for name in ("whole", "killed"))
    for name, value in one.items():
        np.testing.assert_array_equal(two[name], value, err_msg=name)
    states = [json.loads((tmp_path / name / "last/state.json").read_text()) for name in ("whole", "killed")]
    assert states[0] == states[1]
    assert 'stopped": true' in json.dumps(states[0]) or 'stopped": 1' in json.dumps(states[0])


@pytest.mark.parametrize(
    "override, message",
    [
        ("tasks.ve.task=vee", "unknown task 'vee': did you mean"),
        ("tasks.ve.share=3", "expected a divisor of train.batch_size 8"),
        ("tasks.ve.config=/nowhere.yaml", "/nowhere.yaml"),
    ],
)
def test_bad_members_are_refused(configured, override, message):
    with pytest.raises(InputError, match=message):
        MultitaskTask(configured(override))


def test_members_are_found_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(MultitaskTask.config_class, CONFIGS / "multitask.yaml")
    assert config.tasks["ve"].load().snli_ve.splits["val"] == "snli_ve_dev.jsonl"
    (tmp_path / "configs/vilbert").mkdir(parents=True)
    (tmp_path / "configs/vilbert/ve.yaml").write_text("snli_ve: {splits: {val: own.jsonl}}")
    assert config.tasks["ve"].load().snli_ve.splits["val"] == "own.jsonl"
