"""NLVR2 with VisualBERT: recorded batches, training, the official figures and file, bad input."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.data.annotations import nlvr2 as nlvr2_annotations
from pyutils.data.features import FeatureSpec, PackedWriter, open_regions
from pyutils.data.features.inputs import RegionConfig, RegionInputs
from pyutils.engine.determinism import seed_initial
from pyutils.engine.evaluation import evaluate
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from pyutils.metrics.nlvr2_results import PairPredictions, nlvr2_scores
from pyutils.regions.__main__ import run as extract
from pyutils.regions.efficientnet_lite import EfficientNetLite0
from tests.support import golden
from tests.visualbert_paddle.support import DIMENSION, tiny_yaml
from visualbert_paddle.checkpoints.weights import load_initial
from visualbert_paddle.commands import COMMANDS
from visualbert_paddle.data.regions import pair_arrays
from visualbert_paddle.tasks.nlvr2 import VisualBertNLVR2, VisualBertNLVR2Config

SECTION = """
nlvr2:
  root: {}/NLVR2
  splits: {{train: annotations/train.json, dev: annotations/dev.json, test1: annotations/test1.json}}
"""


@pytest.fixture
def nlvr2_config(whole_world, tmp_path):
    path = tmp_path / "nlvr2.yaml"
    text = tiny_yaml(whole_world, tmp_path / "run", "X_NLVR/data/detectron_fix_144", SECTION.format(whole_world))
    path.write_text(text.replace("train:\n  batch", "train:\n  eval_split: dev\n  batch"), encoding="utf-8")
    return lambda *overrides: load_config(VisualBertNLVR2Config, path, overrides)


def task_of(config):
    seed_initial(config.train.seed)
    return VisualBertNLVR2(config)


RECORDED_DIMENSION = (
    golden("visualbert/data_formats").arrays("expected/nlvr_finetune_dev_batch.npz")["image_feat_variable"].shape[-1]
)


@pytest.mark.parametrize("split", ["train", "dev", "test1"])
def test_batches_equal_the_authors_loader(split, tmp_path):
    """Words, both images' regions before the padding, their token types, and labels."""
    recorded = golden("visualbert/data_formats")
    expected = recorded.arrays(f"expected/nlvr_finetune_{split}_batch.npz")
    samples = recorded.json(f"expected/nlvr_finetune_{split}.json")["samples"]
    config = VisualBertNLVR2Config(
        tokenizer=str(recorded.folder / "vocab.txt"),
        regions=RegionConfig(path=str(recorded.folder / "X_NLVR/data/detectron_fix_144"), max_regions=144),
    )
    small = replace(config.model, vocab_size=0, hidden_size=8, num_layers=1, num_heads=2, visual_dim=RECORDED_DIMENSION)
    task = VisualBertNLVR2(replace(config, model=small))
    table = nlvr2_annotations.read(recorded.folder / f"datasets/NLVR2/annotations/{split}.json")
    by_name = {record.identifier: record for record in table}
    batch = task.collate([by_name[sample["identifier"]] for sample in samples], np.random.default_rng(0), True)
    np.testing.assert_array_equal(batch["input_ids"], expected["bert_input_ids"])
    np.testing.assert_array_equal(batch["text_mask"], expected["bert_input_mask"])
    np.testing.assert_array_equal(batch["token_type_ids"], expected["bert_input_type_ids"])
    np.testing.assert_array_equal(batch["region_token_type_ids"], expected["visual_embeddings_type"])
    np.testing.assert_array_equal(batch["region_mask"], expected["image_mask"])
    np.testing.assert_array_equal(batch["labels"], expected["label"])
    sums = batch["region_features"].astype("float64").sum(-1)
    np.testing.assert_allclose(sums, expected["image_feat_row_sums_f64"], atol=1e-9)
    if "image_feat_variable" in expected:
        np.testing.assert_array_equal(batch["region_features"], expected["image_feat_variable"])


def test_unequal_pairs_are_padded_at_the_end():
    """The recorded model inputs: fewer boxes in one image than in the other."""
    recorded = golden("visualbert/nlvr2").inputs
    features, counts = recorded["image_features"], recorded["image_counts"]
    rows, most = len(counts), features.shape[2]
    inputs = object.__new__(RegionInputs)
    inputs.multiple = 4

    def read(keys):
        chosen = [(int(key) % rows, int(key) // rows) for key in keys]
        mask = np.array([[place < counts[row, side] for place in range(most)] for row, side in chosen], dtype=np.int64)
        return type("Batch", (), {"features": np.stack([features[row, side] for row, side in chosen]), "mask": mask})

    inputs.read = read
    made = pair_arrays(inputs, [str(row) for row in range(rows)], [str(rows + row) for row in range(rows)])
    width = made["region_mask"].shape[1]
    assert width == counts.sum(1).max() + -counts.sum(1).max() % 4
    pairs = (("region_features", "visual_embeds"), ("region_mask", "visual_attention_mask"),
             ("region_token_type_ids", "visual_token_type_ids"))  # fmt: skip
    for ours, theirs in pairs:  # beyond the shorter of the two widths there is padding alone
        found, expected = made[ours], recorded[theirs]
        both = min(width, expected.shape[1])
        np.testing.assert_array_equal(found[:, :both], expected[:, :both])
        assert not found[:, both:].any() and not expected[:, both:].any()


def read_predictions(path):
    return {name: value == "True" for name, value in (line.split(",") for line in path.read_text().splitlines())}


def test_training_evaluation_and_prediction(nlvr2_config, tmp_path, capfd):
    config = nlvr2_config("train.epochs=2", "train.accumulation_steps=2")
    run_task(Run(None), config, VisualBertNLVR2, load_initial)
    run = tmp_path / "run"
    task = VisualBertNLVR2(config)
    records = list(task.records("dev"))
    said = read_predictions(run / "dev/predictions.csv")
    best = json.loads((run / "metrics.json").read_text())["best"]
    scores = nlvr2_scores({r.identifier: r.label for r in records}, said)
    assert (best["accuracy"], best["consistency"]) == pytest.approx((100 * scores.accuracy, 100 * scores.consistency))
    COMMANDS.run_prediction(["--checkpoint", str(run), "--split", "test1", "--output", str(tmp_path / "out")])
    assert list(read_predictions(tmp_path / "out/predictions.csv")) == [r.identifier for r in task.records("test1")]
    assert "consistency" in capfd.readouterr().err
    one = ["--left", records[0].left, "--right", records[0].right, "--sentence", records[0].sentence]
    COMMANDS.run_prediction(["--checkpoint", str(run), *one])
    rows = [line for line in capfd.readouterr().err.splitlines() if line.startswith("| ")]
    assert rows[2].startswith("| True") == said[records[0].identifier]  # after heading and rule


def test_official_figures_and_file(tmp_path):
    recorded = golden("visualbert/data_formats").json("expected/nlvr_metrics.json")
    predictions = {name: value == "True" for name, value in recorded["predictions"].items()}
    (path,) = PairPredictions(list(predictions), np.array(list(predictions.values())), []).write(tmp_path)
    assert path.read_text().splitlines()[0] == "dev-0-0-0,False"
    labels = {entry["identifier"]: entry["label"] == "True" for entry in recorded["examples"]}
    scores = nlvr2_scores(labels, read_predictions(path))
    assert scores == pytest.approx((recorded["accuracy"], recorded["consistency"]))


def test_baselines(nlvr2_config):
    blind = task_of(nlvr2_config("image_input=withheld"))
    batch = blind.collate([blind.records("dev")[0]], np.random.default_rng(0), False)
    assert batch["region_features"].shape == (1, 2, DIMENSION)
    assert not batch["region_features"].any()
    assert batch["region_token_type_ids"].tolist() == [[0, 1]]
    shuffled, shown = task_of(nlvr2_config("image_input=shuffled")), task_of(nlvr2_config())
    for own, other in zip(shown.records("dev"), shuffled.records("dev")):
        assert own.left != other.left
        assert own.right != other.right


def test_a_pair_with_one_image_missing(nlvr2_config, whole_world, tmp_path):
    source = open_regions(whole_world / "X_NLVR/data/detectron_fix_144")
    left_out = task_of(nlvr2_config()).records("train")[0].right
    with PackedWriter(tmp_path / "store", FeatureSpec(dimension=DIMENSION)) as writer:
        for key in source:
            if key != left_out:
                writer.add(key, source[key])
    with pytest.raises(InputError, match=rf"no features for 1 of \d+ images.*{left_out}.*regions\.missing: skip"):
        task_of(nlvr2_config(f"regions.path={tmp_path}/store")).records("train")
    kept = task_of(nlvr2_config(f"regions.path={tmp_path}/store", "regions.missing=skip")).records("train")
    every = task_of(nlvr2_config()).records("train")
    assert len(kept) == sum(left_out not in (record.left, record.right) for record in every) < len(every)


def test_features_of_another_recipe(nlvr2_config, tmp_path):
    """1024-d features given to a 2048-d configuration: detector, dimension and the configuration that fits."""
    spec = FeatureSpec(dimension=1024, detector="mask_rcnn_R-101")
    with PackedWriter(tmp_path / "store", spec):
        pass
    message = r"expected 2048-d regions, .* holds 1024-d ones of detector 'mask_rcnn_R-101'.*visualbert/nlvr2\.yaml"
    with pytest.raises(InputError, match=message):
        task_of(nlvr2_config(f"regions.path={tmp_path}/store", "model.visual_dim=2048"))


def test_hidden_labels(nlvr2_config, whole_world, tmp_path):
    lines = (whole_world / "NLVR2/annotations/test1.json").read_text().splitlines()
    hidden = [json.dumps({**json.loads(line), "label": None}) for line in lines]
    (tmp_path / "hidden.json").write_text("\n".join(hidden))
    config = nlvr2_config(f"nlvr2.splits.test2={tmp_path}/hidden.json", f"nlvr2.splits.train={tmp_path}/hidden.json")
    task = task_of(config)
    with pytest.raises(InputError, match=r"'test2' has no labels.*run_predict\.py"):
        evaluate(task, task.config.train, "test2")
    with pytest.raises(InputError, match=r"has no label; train on a split with labels"):
        task.collate([task.records("train")[0]], np.random.default_rng(0), True)
    with pytest.raises(InputError, match=r"no split 'tset1': did you mean \"test1\""):
        task.records("tset1")


def test_two_image_files_are_described_by_grid_features(nlvr2_config, whole_world, tmp_path, capfd):
    """The checkpoint records the grid, so the files are enough."""
    lite0 = tmp_path / "lite0.safetensors"
    save_file({name: value.numpy() for name, value in EfficientNetLite0().state_dict().items()}, str(lite0))
    grid = ["--backbone", "efficientnet-lite0", "--weights", str(lite0), "--cells", "2", "--size", "64"]
    extract(["--images", str(whole_world / "images/nlvr2"), "--out", str(tmp_path / "grid"), *grid])
    config = nlvr2_config("train.max_steps=1", f"regions.path={tmp_path}/grid", "model.visual_dim=1280")
    run_task(Run(None), config, VisualBertNLVR2, load_initial)
    record = VisualBertNLVR2(config).records("dev")[0]
    one = ["--checkpoint", str(tmp_path / "run"), "--sentence", record.sentence]
    capfd.readouterr()
    COMMANDS.run_prediction([*one, "--left", record.left, "--right", record.right])
    stored = [line for line in capfd.readouterr().err.splitlines() if line.startswith("| ")]
    shutil.rmtree(tmp_path / "grid")
    left, right = (str(next((whole_world / "images").rglob(f"{key}.*"))) for key in (record.left, record.right))
    COMMANDS.run_prediction([*one, "--left", left, "--right", right])
    said = capfd.readouterr().err
    assert [line for line in said.splitlines() if line.startswith("| ")] == stored
    assert said.count("4 regions of efficientnet-lite0-grid2") == 2
    with pytest.raises(InputError, match=r"efficientnet-lite0-grid2.*efficientnet-lite0-grid3"):
        COMMANDS.run_prediction([*one, "--left", left, "--right", right, *grid[:4], "--cells", "3"])
