"""Checkpoints that are part of the package: complete, small, and they answer about an image; how one is finished."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyutils import pipeline
from pyutils.errors import InputError
from pyutils.formats.tensor_files import read_safetensors, write_safetensors
from pyutils.weights import bundle, registry
from pyutils.weights.__main__ import main
from pyutils.weights.places import resolve_weights

ROOT = Path(__file__).resolve().parents[3]
BUNDLED = sorted(name for name, entry in registry.entries().items() if entry.bundled)
IMAGE = ROOT / "docs/images/red_triangle.png"
ASKED = {"what is the red shape?": "triangle", "does the image contain a circle?": "no"}


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_checkpoint_is_complete_and_small(name):
    file = resolve_weights(name)
    assert file.parent == registry.BUNDLED / name and file.stat().st_size <= bundle.MOST_BYTES
    assert {array.dtype for array in read_safetensors(file).values()} <= {np.dtype("float16"), np.dtype("int64")}
    metrics = json.loads((file.parent / "metrics.json").read_text())
    card = (file.parent / "README.md").read_text()
    for text in (
        name,
        f"{metrics['accuracy']:.2f}",
        f"{file.stat().st_size:,} bytes",
        "easy-VQA",
        "shell/bundle-checkpoints.sh",
    ):
        assert text in card
    assert name in registry.describe()


def test_every_folder_is_known():
    assert sorted(folder.name for folder in registry.BUNDLED.iterdir()) == BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
@pytest.mark.parametrize("question, answer", ASKED.items())
def test_a_bundled_checkpoint_answers_about_an_image_without_any_other_file(name, question, answer, tmp_path):
    for folder in ("one", "two"):  # images in the caller's folder are not looked at
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.png").write_bytes(IMAGE.read_bytes())
    script = ROOT / f"{registry.find(name).model}_paddle/run_predict.py"
    command = [sys.executable, str(script), "--checkpoint", name, "--image", str(IMAGE), "--question", question]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYUTILS_CPU_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in (done.stdout + done.stderr).splitlines() if line.startswith("| ")]
    assert rows[2] == answer  # after the header and its line


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_checkpoint_answers_from_python_without_a_source_of_regions(name):
    ask = pipeline("visual-question-answering", name)
    assert [ask(IMAGE, question).label for question in ASKED] == list(ASKED.values())


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A converted folder, its metrics, and a registry that knows it; returns the arguments of the command."""
    monkeypatch.setattr(bundle, "find", lambda name: registry.Entry(name, "a toy", "visualbert", "MIT", bundled=True))
    folder = tmp_path / "toy"
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", {"w": np.ones((3, 2), "float16")})
    (folder / "config.yaml").write_text("init: here\noutput_dir: there\nregions: {path: a, format: ''}\n")
    metrics = tmp_path / "metrics_test.json"
    metrics.write_text(json.dumps({"accuracy": 99.5, "task": "t", "split": "test", "checkpoint": str(folder)}))
    return ["bundle", str(folder), "--name", "toy", "--metrics", str(metrics), "--data", "D", "--made_by", "sh make"]


def test_a_folder_is_finished_with_card_metrics_and_settings(made):
    assert main([*made, "--set", "regions.path=.", "--set", "regions.format=windows"]) == 0
    folder = Path(made[1])
    assert (
        folder / "config.yaml"
    ).read_text() == "init: ''\noutput_dir: output\nregions:\n  path: .\n  format: windows\n"
    assert json.loads((folder / "metrics.json").read_text()) == {"accuracy": 99.5, "task": "t", "split": "test"}
    card = (folder / "README.md").read_text()
    for text in ("# toy", "| accuracy | 99.50 |", "6 parameters", "**Data**: D", "MIT", "sh make"):
        assert text in card


def test_metrics_of_other_weights_unknown_keys_and_large_files_are_refused(made, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="regions.detector: .*no such key"):
        main([*made, "--set", "regions.detector=x"])
    monkeypatch.setattr(bundle, "MOST_BYTES", 50)
    with pytest.raises(InputError, match=r"model.safetensors: \d+ bytes, more than 50"):
        main(made)
    (tmp_path / "metrics_test.json").write_text(json.dumps({"accuracy": 1.0, "checkpoint": str(tmp_path / "other")}))
    with pytest.raises(InputError, match="metrics of .*/other, not of .*/toy"):
        main(made)
    (tmp_path / "metrics_test.json").unlink()
    with pytest.raises(InputError, match="metrics_test.json is missing"):
        main(made)
