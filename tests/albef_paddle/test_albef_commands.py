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


def command(script: str, *arguments: object, status: int = 0, processes: int = 1, log: Path | None = None) -> str:
    """Run `albef_paddle/SCRIPT`, in several processes where asked for, and return what it printed."""
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", processes, "--log_dir", log]
    start = launcher if processes > 1 else []
    line = [sys.executable, *start, ROOT / "albef_paddle" / script, *arguments]
    done = subprocess.run([str(part) for part in line], capture_output=True, text=True, cwd=ROOT, check=False)
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


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(retrieval_yaml, tmp_path):
    both, one, two = tmp_path / "both", tmp_path / "one", tmp_path / "two"
    common = ["--config", retrieval_yaml, "--set", "train.batch_size=4"]
    command("run_retrieval.py", *common, "--output_dir", both, processes=2, log=tmp_path / "log")
    weights = ["--checkpoint", both / "best", "--evaluate", "--set", "k_test=4"]
    command("run_retrieval.py", *common, "--output_dir", one, *weights)
    command("run_retrieval.py", *common, "--output_dir", two, *weights, processes=2, log=tmp_path / "log2")
    assert json.loads((one / "metrics_test.json").read_text()) == json.loads((two / "metrics_test.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "images", "lists", "entries"),
    [
        ("run_ve.py", "flickr30k", {"train": "ve_train.json", "val": "ve_dev.json"}, {}),
        ("run_nlvr.py", "nlvr2", {"train": "nlvr_train.json", "val": "nlvr_dev.json"}, {}),
        ("run_nlvr_pretrain.py", "coco", {"train": "coco_pretrain.json", "val": "coco_pretrain.json"}, {}),
        ("run_pretrain.py", "coco", {"train": "coco_pretrain.json", "val": "coco_pretrain.json"}, {}),
        ("run_grounding.py", "coco", {"train": "refcoco+_train.json", "val": "refcoco+_test.json"}, {"block_num": 1}),
    ],
)
def test_every_script_runs(world, write_yaml, tmp_path, script, images, lists, entries):
    path = write_yaml(images, world.lists(**lists), **entries)
    command(script, "--config", path, "--device", "cpu", "--output_dir", tmp_path / "out", "--seed", 3)
    assert (tmp_path / "out" / "best" / "model.safetensors").is_file()
