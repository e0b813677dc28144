"""Pre-training of ViLBERT from lists with an LMDB and from shards that bring their regions."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import paddle
import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.data.features import open_regions
from pyutils.data.pairs import Pair, write_tar_shards
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from vilbert_paddle.checkpoints.weights import load_initial
from vilbert_paddle.network.objectives import PretrainingLabels, network_inputs, pretraining_losses
from vilbert_paddle.tasks.base import with_recipe
from vilbert_paddle.tasks.pretrain import PretrainTask


def batch_of(task, count=6, training=True):
    records = [task.records("train")[place] for place in range(count)]
    return task.collate(records, np.random.default_rng(0), training)


def without_features(yaml_of, *overrides):
    config = load_config(PretrainTask.config_class, yaml_of("pretrain"), overrides)
    return PretrainTask(replace(config, pretrain=replace(config.pretrain, features={})))


@pytest.mark.parametrize("target", ["classes", "features", "nce"])
def test_losses_of_masked_places_are_those_of_all_places(target, build):
    dimension = 50 if target == "classes" else 32
    task = build(PretrainTask, "pretrain", f"pretrain.target={target}", f"model.region_targets={dimension}")
    task.model.eval()
    batch = {name: paddle.to_tensor(array) for name, array in batch_of(task).items()}
    found, _ = task.losses(batch)
    labels = PretrainingLabels(
        *(batch[name] for name in ("word_labels", "region_labels", "region_targets", "replaced")),
        batch.get("negatives"),
    )
    expected = pretraining_losses(task.model(**network_inputs(batch)), labels, target)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-5)


def test_a_batch_with_nothing_masked_has_a_loss(build):
    task = build(PretrainTask, "pretrain")
    batch = batch_of(task)
    batch["word_labels"][:] = -100
    batch["word_positions"] = np.zeros(1, np.int64)
    losses, _ = task.losses({name: paddle.to_tensor(array) for name, array in batch.items()})
    assert losses["words"].item() == 0


def test_a_blind_model_has_boxes_and_classes_to_predict_but_no_features(build):
    shown, blind = (batch_of(build(PretrainTask, "pretrain", f"image_input={p}")) for p in ("shown", "withheld"))
    assert shown["region_features"].any() and not blind["region_features"].any()
    for name in ("region_boxes", "region_mask", "region_labels", "region_targets", "input_ids"):
        np.testing.assert_array_equal(blind[name], shown[name])
    losses, _ = build(PretrainTask, "pretrain").losses({name: paddle.to_tensor(array) for name, array in blind.items()})
    assert losses["regions"].item() > 0


def test_training_lowers_the_loss(yaml_of, tmp_path):
    overrides = ("train.epochs=12", "train.eval_every_epochs=12", "train.optimizer.lr=1e-2", "train.log_every=2")
    config = load_config(PretrainTask.config_class, yaml_of("pretrain"), overrides)
    run_task(Run(None), with_recipe(config, PretrainTask.heads_of(config)), PretrainTask, load_initial)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [entry for entry in lines if entry["kind"] == "train"]
    assert losses[-1]["words"] < losses[0]["words"]
    assert np.mean([entry["regions"] for entry in losses[-6:]]) < np.mean([entry["regions"] for entry in losses[:6]])
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())["best"]
    assert metrics["score"] == pytest.approx(-sum(metrics[name] for name in ("words", "regions", "alignment")))


def test_shards_that_bring_their_regions_give_the_same_batches(build, yaml_of, world, tmp_path):
    listed = build(PretrainTask, "pretrain", "pretrain.objective=no_alignment")
    source = open_regions(world / "lmdb/concap_train_array.lmdb")
    pairs = [Pair(p.image, p.captions, None, source[p.image]) for p in (listed.records("train")[i] for i in range(6))]
    write_tar_shards(tmp_path / "shards", pairs, pairs_per_shard=3)
    shards = sorted(str(path) for path in (tmp_path / "shards").glob("*.tar"))
    task = without_features(yaml_of, f"pretrain.splits.train={shards}", "pretrain.objective=no_alignment")
    one, two = batch_of(listed), batch_of(task)
    assert one["region_features"].shape == two["region_features"].shape
    np.testing.assert_allclose(one["region_features"], two["region_features"], atol=2e-3)  # shards hold float16


def test_pairs_without_regions_are_refused(yaml_of):
    task = without_features(yaml_of)
    with pytest.raises(InputError, match="has no regions"):
        batch_of(task)


def test_an_unknown_split_names_the_nearest(build):
    with pytest.raises(InputError, match="no split 'vall': did you mean"):
        build(PretrainTask, "pretrain").records("vall")
