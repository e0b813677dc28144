"""VQA, NLVR2 and SNLI-VE with ViLBERT from files to result files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.engine.evaluation import evaluate, evaluating
from pyutils.engine.run import run_task
from pyutils.engine.trainer import Trainer
from pyutils.errors import InputError
from pyutils.losses import vqa_bce
from tests.support import write_memes
from vilbert_paddle.checkpoints.weights import load_initial
from vilbert_paddle.commands import COMMANDS
from vilbert_paddle.tasks.base import with_recipe
from vilbert_paddle.tasks.entailment import EntailmentTask
from vilbert_paddle.tasks.nlvr2 import NLVR2Task
from vilbert_paddle.tasks.vqa import VQATask

TASKS = {"vqa": VQATask, "nlvr2": NLVR2Task, "ve": EntailmentTask}


def batch_of(task, split="train", training=True, count=4):
    records = [task.records(split)[place] for place in range(count)]
    arrays = task.collate(records, np.random.default_rng(0), training)
    return records, {name: paddle.to_tensor(array) for name, array in arrays.items()}


@pytest.mark.parametrize("name", list(TASKS))
def test_training_lowers_the_loss_and_writes_the_result_file(name, yaml_of, tmp_path):
    task_class = TASKS[name]
    overrides = ("train.max_steps=30", "train.epochs=30", "train.eval_every_epochs=30", "train.log_every=10")
    config = load_config(task_class.config_class, yaml_of(name), (*overrides, "new_head_lr=3e-3"))
    run_task(Run(None), with_recipe(config, task_class.heads_of(config)), task_class, load_initial)
    run = tmp_path / "run"
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in lines if entry["kind"] == "train"]
    assert losses[-1] < losses[0]
    metrics = json.loads((run / "metrics.json").read_text())["best"]
    task = task_class(config)
    if name == "vqa":
        result = json.loads((run / "val/result.json").read_text())
        assert [entry["question_id"] for entry in result] == task.records("val").column("question_id").tolist()
    elif name == "nlvr2":
        lines = (run / "val/predictions.csv").read_text().splitlines()
        right = [line == f"{record.identifier},{record.label}" for line, record in zip(lines, task.records("val"))]
        assert metrics["accuracy"] == pytest.approx(100 * np.mean(right))
    else:
        said = {entry["pairID"]: entry["label"] for entry in json.loads((run / "val/labels.json").read_text())}
        right = [said[record.identifier] == record.label for record in task.records("val")]
        assert metrics["accuracy"] == pytest.approx(100 * np.mean(right))


def test_losses_are_those_of_the_objectives(build):
    task = build(VQATask, "vqa")
    _, batch = batch_of(task)
    task.model.eval()
    assert float(task.loss(batch)[0]) == pytest.approx(float(vqa_bce(task.scores(batch), batch["labels"])))


def test_the_two_pictures_of_a_pair_are_not_the_same_to_the_model(build):
    task = build(NLVR2Task, "nlvr2")
    task.model.eval()
    _, batch = batch_of(task)
    assert batch["region_features"].shape[:2] == [4, 2]
    swapped = {**batch}
    for name in ("region_features", "region_mask", "region_boxes"):
        swapped[name] = batch[name].flip(1)
    assert not np.allclose(task.scores(batch).numpy(), task.scores(swapped).numpy(), atol=1e-6)


def test_task_tokens_reach_the_model(build):
    task = build(NLVR2Task, "nlvr2", "model.task_tokens=20")
    _, batch = batch_of(task)
    assert batch["task_ids"].numpy().tolist() == [[12]] * 4
    assert task.scores(batch).shape == [4, 2]


def test_a_split_without_answers_is_not_evaluated(build):
    task = build(VQATask, "vqa")
    with evaluating(task.model), pytest.raises(InputError, match="has no labels"):
        evaluate(task, task.config.train, "test")


@pytest.mark.parametrize("name", list(TASKS))
def test_an_unknown_split_names_the_nearest(name, build):
    with pytest.raises(InputError, match="no split 'vall': did you mean"):
        build(TASKS[name], name).records("vall")


def test_undecided_pairs_are_not_trained_on(build, world, tmp_path):
    lines = (world / "SNLI-VE/snli_ve_train.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    for entry in entries[:3]:
        entry["gold_label"] = "-"
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, entries)) + "\n")
    task = build(EntailmentTask, "ve", f"snli_ve.root={tmp_path}", "snli_ve.splits.train=train.jsonl")
    assert len(task.train_records()) == len(entries) - 3


def test_own_classes(yaml_of, world, tmp_path):
    lines = (world / "SNLI-VE/snli_ve_train.jsonl").read_text().splitlines()
    rows = write_memes(tmp_path, [json.loads(line)["Flickr30K_ID"] for line in lines[:10]], ("2", "0", "1"))
    names = ", ".join(f"{split}: {split}.jsonl" for split in ("train", "val", "test"))
    overrides = (f"snli_ve.root={tmp_path}", f"snli_ve.splits={{{names}}}", "classes=['0', '1', '2']")
    config = load_config(EntailmentTask.config_class, yaml_of("ve"), (*overrides, "train.max_steps=2"))
    run_task(Run(None), with_recipe(config, ("entailment",)), EntailmentTask, load_initial)
    task = EntailmentTask(config)
    _, batch = batch_of(task)
    assert task.scores(batch).shape == [4, 3]
    assert batch["labels"].argmax(axis=1).tolist() == [row["label"] for row in rows[:4]]
    COMMANDS.run_prediction(["--checkpoint", str(tmp_path / "run"), "--split", "test"])
    said = json.loads((tmp_path / "run/test/labels.json").read_text())
    assert [row["pairID"] for row in said] == [str(number) for number in range(5)]
    assert {row["label"] for row in said} <= {"0", "1", "2"}


def test_questions_without_annotations_are_refused_before_training(yaml_of):
    config = load_config(VQATask.config_class, yaml_of("vqa"))
    parts = [replace(part, annotations="") for part in config.vqa.splits["train"]]
    splits = {**config.vqa.splits, "train": parts}
    task = VQATask(replace(config, vqa=replace(config.vqa, splits=splits)))
    with pytest.raises(InputError, match=r"'train'.*question \d+ \(\d+ of \d+\)"):
        Trainer(task, config.train, config.output_dir).run()


def test_examples_without_label_are_refused_before_training(yaml_of, world, tmp_path):
    config = load_config(NLVR2Task.config_class, yaml_of("nlvr2"))
    hidden = replace(config.nlvr2, splits={**config.nlvr2.splits, "train": unlabelled(config, tmp_path)})
    task = NLVR2Task(replace(config, nlvr2=hidden))
    with pytest.raises(InputError, match=r"'train'.*example .*\(1 of \d+\)"):
        Trainer(task, config.train, config.output_dir).run()


def unlabelled(config, tmp_path):
    """The training file of `config` with its last label taken out."""
    path = Path(config.nlvr2.root) / config.nlvr2.splits["train"]
    *lines, last = path.read_text().splitlines()
    entry = json.loads(last)
    del entry["label"]
    (tmp_path / "hidden.json").write_text("\n".join([*lines, json.dumps(entry)]))
    return str(tmp_path / "hidden.json")
