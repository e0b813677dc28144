"""RefCOCO+ from its own files to the result file, and what it says to bad input."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from pyutils.weights import read
from tests.vilbert_paddle.data.lmdb_files import write_lmdb
from vilbert_paddle.checkpoints.weights import load_initial
from vilbert_paddle.tasks.base import with_recipe
from vilbert_paddle.tasks.refer import ReferRunConfig, ReferTask


def config_of(yaml_of, *overrides, output="run"):
    return with_recipe(load_config(ReferRunConfig, yaml_of("refer", output), overrides), ["region"])


def batch_of(task, split="train", training=True, count=4):
    records = [task.records(split)[place] for place in range(count)]
    return records, task.collate(records, np.random.default_rng(0), training)


def test_batches_mix_annotated_regions_in_for_training_only(build):
    task = build(ReferTask, "refer")
    _, training = batch_of(task)
    _, evaluation = batch_of(task, training=False)
    detected, mixed = evaluation["region_mask"].sum(1), training["region_mask"].sum(1)
    assert (mixed > detected).all()
    assert set(np.unique(training["labels"][training["labels"] < 0.5])) == {0.0}
    assert (training["labels"].max(1) == 1).all()  # the annotated box of the thing itself
    assert ((evaluation["labels"] > 0) & (evaluation["labels"] < 0.5)).any()


def test_training_evaluation_and_result_file(yaml_of, tmp_path, capsys):
    config = config_of(yaml_of, "train.epochs=4", "new_head_lr=1e-3")
    run_task(Run(None), config, ReferTask, load_initial)
    run = tmp_path / "run"
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in lines if entry["kind"] == "train"]
    assert losses[-1] < losses[0]
    epochs = [line for line in capsys.readouterr().err.splitlines() if line.startswith("** ** Epoch")]
    assert [line.split("done!")[0] for line in epochs] == [f"** ** Epoch {{{n}}} " for n in range(4)]
    best = json.loads((run / "metrics.json").read_text())["best"]["accuracy"]
    assert max(float(line.rsplit(" ", 1)[1]) for line in epochs) == pytest.approx(best / 100, abs=1e-4)
    result = json.loads((run / "val/result.json").read_text())
    task = ReferTask(config)
    assert [entry["id"] for entry in result] == task.records("val").column("sentence_id").tolist()
    assert set(result[0]) == {"id", "target", "IOU"}
    assert np.mean([entry["IOU"] > 0.5 for entry in result]) == pytest.approx(best / 100)
    run_task(Run(None, evaluate=True), replace(config, eval_split="testA"), ReferTask, load_initial)
    assert len(json.loads((run / "testA/result.json").read_text())) == len(task.records("testA"))


def test_the_line_about_an_epoch_says_its_mean_loss(yaml_of, tmp_path, capsys):
    run_task(Run(None), config_of(yaml_of, "train.epochs=2", "train.log_every=1"), ReferTask, load_initial)
    log = tmp_path / "run/log.jsonl"
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [entry["loss"] for entry in steps if entry["kind"] == "train"]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("** ** Epoch")]
    half = len(losses) // 2
    for line, own in zip(said, (losses[:half], losses[half:])):
        assert float(line.split("loss: ")[1].split(",")[0]) == pytest.approx(np.mean(own), abs=2e-5)


def test_a_resumed_run_ends_as_the_whole_one(yaml_of, tmp_path):
    for output, steps in (("whole", 0), ("parts", 3)):
        config = config_of(yaml_of, "train.epochs=2", output=output)
        if steps:
            # The length of a run belongs to its identity, so the first part is stopped by a failing hook.
            with pytest.raises(KeyboardInterrupt):
                run_task(Run(None), replace_train(config, save_every_steps=steps), StoppingTask, load_initial)
            run_task(Run(None, resume="auto"), replace_train(config, save_every_steps=steps), ReferTask, load_initial)
        else:
            run_task(Run(None), replace_train(config, save_every_steps=3), ReferTask, load_initial)
    one, two = (read(tmp_path / name / "last/model.safetensors") for name in ("whole", "parts"))
    for name, value in one.items():
        np.testing.assert_array_equal(two[name], value, err_msg=name)


def replace_train(config, **settings):
    return replace(config, train=replace(config.train, **settings))


class StoppingTask(ReferTask):
    def after_step(self, step):
        if step == 5:
            raise KeyboardInterrupt


def test_cut_annotated_regions_are_counted_and_reported(yaml_of, capsys):
    run_task(Run(None), config_of(yaml_of, "regions.max_regions=9"), ReferTask, load_initial)
    assert "annotated regions were cut after the detected ones (regions.max_regions 9)" in capsys.readouterr().err


def test_a_blind_model_has_boxes_but_no_features(build):
    _, batch = batch_of(build(ReferTask, "refer", "image_input=withheld"), training=False)
    assert not batch["region_features"].any()
    assert batch["region_mask"].sum() > 4
    assert batch["labels"].any()


def test_an_unknown_split_names_those_there_are(build):
    with pytest.raises(InputError, match=r"no split 'tesTA'; it has .*testA.*did you mean"):
        build(ReferTask, "refer").records("tesTA")


def test_a_missing_picture_is_named(build, tmp_path):
    from tests.vilbert_paddle.data.lmdb_files import picture

    content = picture(1, 3)
    content["features"] = np.zeros((3, 32), np.float32)
    lmdb = write_lmdb(tmp_path / "some.lmdb", {"999999": content})
    task = build(ReferTask, "refer", f"regions.path={lmdb}")
    with pytest.raises(InputError, match="some.lmdb"):
        task.records("train")


@pytest.mark.parametrize("missing", ["error", "skip"])
def test_a_picture_without_annotated_regions_is_noticed_before_training(build, tmp_path, missing):
    from tests.vilbert_paddle.data.lmdb_files import picture

    whole = build(ReferTask, "refer").records("train")
    content = picture(1, 3)
    content["features"] = np.zeros((3, 32), np.float32)
    lmdb = write_lmdb(tmp_path / "some_gt.lmdb", {str(whole[0].image): content})
    task = build(ReferTask, "refer", f"annotated_regions.path={lmdb}", f"annotated_regions.missing={missing}")
    if missing == "error":
        with pytest.raises(InputError, match="some_gt.lmdb has no features for .*annotated_regions.missing: skip"):
            task.records("train")
    else:
        assert {record.image for record in task.records("train")} == {whole[0].image}
    assert len(task.records("val")) == len(build(ReferTask, "refer").records("val"))  # which reads detected ones only


def test_an_evaluation_inside_an_epoch_does_not_end_it(yaml_of, capsys):
    run_task(Run(None), config_of(yaml_of, "train.max_steps=2"), ReferTask, load_initial)
    assert re.search(r"\*\* \*\* Epoch \{0\}, 16 of \d+ expressions\. Training loss", capsys.readouterr().err)


def test_more_tokens_than_positions_are_refused(build):
    with pytest.raises(InputError, match=r"max_text is 97, but the network has 96 positions"):
        build(ReferTask, "refer", "max_text=97")


def test_regions_of_another_dimension_are_refused(build):
    with pytest.raises(InputError, match="expected 2048-d regions, .* holds 32-d"):
        build(ReferTask, "refer", "model.region_dim=2048")
