"""Every recipe script passes on `--config FILE` without overruling it; the file replaces the recipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NO_CONFIG = {"env", "launch", "recipe", "test", "albef-recipe", "vilbert", "quickstart", "albef-quickstart"}
NO_CONFIG |= {"constraints", "bundle-checkpoints", "visualbert-chain"}  # the last calls the other scripts
SCRIPTS = sorted(path.stem for path in (ROOT / "shell").glob("*.sh") if path.stem not in NO_CONFIG)
VARIABLES = (
    "DATA",
    "DATA_DIR",
    "MODEL",
    "CONFIG",
    "LOG_DIR",
    "DATASET",
    "ANNOTATIONS",
    "MODE",
    "TEXT_ENCODER",
    "NPROC",
)
# Prints the resolved configuration of a run_<task>.py instead of training.
STUB = """#!{python}
import runpy, sys
sys.path.insert(0, {root!r})
sys.argv = sys.argv[1:]
if "run_predict" not in sys.argv[0]:
    import pyutils.engine.run as engine
    from pyutils.config.command_line import print_config
    engine.run_task = lambda run, config, *rest: print_config(config)
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
MINE = "output_dir: mine\ninit: weights\ntokenizer: words.txt\n"
MINE += "train:\n  batch_size: 3\n  epochs: 7\n  optimizer: {lr: 3e-4}\n"


def resolved(folder, script, *arguments, **variables):
    python = folder / "python"
    python.write_text(STUB.format(python=sys.executable, root=str(ROOT)))
    python.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    environment = {**kept, "PYTHON": str(python), "GPUS": "", **variables}
    command = ["sh", str(ROOT / f"shell/{script}.sh"), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_configuration_of_the_user_replaces_the_recipe(tmp_path, script):
    (tmp_path / "mine.yaml").write_text(MINE)
    output = resolved(tmp_path, script, "--config", "mine.yaml")
    expected = ["init: weights", "tokenizer: words.txt", "  batch_size: 3", "  epochs: 7", "lr: 0.0003"]
    if script != "vcr-finetune":  # its two runs need two folders
        expected.append("output_dir: mine")
    for line in expected:
        assert line in output, line


def test_flags_and_variables_come_before_the_configuration(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    arguments = ("--config", "mine.yaml", "--batch_size", "5", "--set", "train.epochs=9")
    output = resolved(tmp_path, "vqa-finetune", *arguments, MODEL="other")
    assert "  batch_size: 5" in output
    assert "  epochs: 9" in output
    assert "init: other" in output
