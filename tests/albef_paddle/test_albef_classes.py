"""Classes of one's own for images with sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from albef_paddle.commands import COMMANDS
from pyutils.errors import InputError
from tests.support import write_memes


@pytest.fixture
def memes(world, write_yaml, tmp_path):
    """The configuration of a run on own classes; call with entries of the configuration."""
    entries = json.loads((world.data / "albef/ve_train.json").read_text())
    write_memes(tmp_path, [Path(entry["image"]).stem for entry in entries[:12]], suffix=".jpg")
    splits = {split: [str(tmp_path / f"{split}.jsonl")] for split in ("train", "val", "test")}
    return lambda **more: write_yaml("flickr30k", splits, **{"task": "albef_ve", "classes": ["0", "1"], **more})


def _train(path):
    command = next(command for command in COMMANDS.commands if command.script == "run_ve.py")
    COMMANDS.run_training(command, ["--config", str(path)])


def test_training_and_an_unlabelled_list(memes, world, tmp_path, capfd):
    _train(memes())
    run = tmp_path / "run"
    best = json.loads((run / "metrics.json").read_text())["best"]
    rows = json.loads((run / "val/labels.json").read_text())
    assert best["accuracy"] == pytest.approx(100 * sum(int(row["label"]) == n % 2 for n, row in enumerate(rows)) / 5)
    COMMANDS.run_prediction(["--checkpoint", str(run), "--split", "test"])
    assert json.loads((run / "test/labels.json").read_text()) == rows  # the same pairs without their labels
    capfd.readouterr()
    image = next((world.data / "flickr30k").rglob("*.*g"))
    COMMANDS.run_prediction(["--checkpoint", str(run), "--image", str(image), "--text", "the dog 0"])
    assert {"| 0 ", "| 1 "} <= {line[:4] for line in capfd.readouterr().err.splitlines()}


def test_another_number_of_outputs_is_refused(memes):
    with pytest.raises(InputError, match=r"num_classes.*2, the number of classes"):
        _train(memes(model={"num_classes": 5}))
