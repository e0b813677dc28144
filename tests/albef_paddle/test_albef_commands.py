"""The commands of ALBEF's users, with their flags and configuration files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def retrieval_yaml(world, write_yaml):
    splits = world.lists(train="flickr30k_train.json", val="flickr30k_val.json", test="flickr30k_test.json")
    return write_yaml("flickr30k", splits, k_test=100, eval_split="test")


def command(script: str, *arguments: object, status: int = 0) -> str:
    """Run `albef_paddle/SCRIPT` and return what it printed."""
    line = [sys.executable, str(ROOT / "albef_paddle" / script), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_original_command_line_trains_and_evaluates(world, retrieval_yaml, tmp_path):
    out = tmp_path / "Retrieval_flickr"
    common = ["--config", retrieval_yaml, "--output_dir", out, "--textencoder", world.vocabulary.parent]
    devices = ["--device", "cuda", "--distributed", "False"]
    said = command("run_retrieval.py", *common, *devices)
    assert "running on the CPU" in said
    assert "k_test 100 is larger than the gallery of 'val': all of its" in said
    checkpoint = out / "best" / "model.safetensors"
    said = command("run_retrieval.py", *common, "--checkpoint", checkpoint, *devices, "--evaluate")
    assert "txt_r1" in said
    metrics = json.loads((out / "metrics_test.json").read_text())
    assert 0 <= metrics["r_mean"] <= 100


def test_an_unknown_flag_names_the_nearest():
    assert "did you mean" in command("run_retrieval.py", "--checkpont", "x", status=2)
