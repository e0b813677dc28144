"""Classes of an image with a sentence: training, evaluation, unlabelled lists, one example."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.engine.run import run_task
from pyutils.losses import masked_cross_entropy
from tests.support import write_memes
from tests.visualbert_paddle.support import tiny_yaml
from visualbert_paddle.checkpoints.weights import load_initial
from visualbert_paddle.commands import COMMANDS
from visualbert_paddle.tasks.entailment import VisualBertEntailment, VisualBertEntailmentConfig

REGIONS = "X_COCO/data/detectron_fix_100"


@pytest.fixture
def config(whole_world, tmp_path):
    names = sorted(path.stem for path in (whole_world / REGIONS).rglob("*.npy"))
    write_memes(tmp_path, [name for name in names if not name.endswith("_info")][:12])
    splits = "train: train.jsonl, val: val.jsonl, test: test.jsonl"
    section = f"snli_ve: {{root: {tmp_path}, splits: {{{splits}}}}}\nclasses: ['0', '1']"
    path = tmp_path / "ve.yaml"
    path.write_text(tiny_yaml(whole_world, tmp_path / "run", REGIONS, section))
    return lambda *overrides: load_config(VisualBertEntailmentConfig, path, overrides)


def test_training_evaluation_and_prediction(config, tmp_path, capfd):
    settings = config("train.epochs=8")
    run_task(Run(None), settings, VisualBertEntailment, load_initial)
    run = tmp_path / "run"
    best = json.loads((run / "metrics.json").read_text())["best"]
    rows = json.loads((run / "val/labels.json").read_text())
    task = VisualBertEntailment(settings)
    right = [row["label"] == record.label for row, record in zip(rows, task.records("val"))]
    assert best["accuracy"] == pytest.approx(100 * np.mean(right))
    assert 0 <= best["auroc"] <= 100
    capfd.readouterr()
    COMMANDS.run_prediction(["--checkpoint", str(run), "--split", "test", "--output", str(tmp_path / "out")])
    assert "accuracy" not in capfd.readouterr().err
    predicted = json.loads((tmp_path / "out/labels.json").read_text())
    assert [row["label"] for row in predicted] == [row["label"] for row in rows]  # the same pairs without labels
    record = task.records("val")[0]
    COMMANDS.run_prediction(["--checkpoint", str(run), "--image", record.image, "--text", record.sentence])
    table = [line for line in capfd.readouterr().err.splitlines() if line.startswith("| ")]
    assert table[2].split("|")[1].strip() == rows[0]["label"]  # after heading and rule


def test_loss_is_the_cross_entropy_of_the_classes(config):
    task = VisualBertEntailment(config())
    task.model.eval()
    records = [task.records("train")[row] for row in range(4)]
    arrays = task.collate(records, np.random.default_rng(0), True)
    batch = {name: paddle.to_tensor(array) for name, array in arrays.items()}
    assert arrays["labels"].tolist() == [int(record.label) for record in records]
    assert task.scores(batch).shape == [4, 2]
    expected = masked_cross_entropy(task.scores(batch), batch["labels"])
    assert float(task.loss(batch)[0]) == pytest.approx(float(expected))
