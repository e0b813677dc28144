"""Every recipe script reaches its training on the sample data with DATA_DIR=sample, of the size SCENES."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCED = {"env", "launch", "recipe", "albef-recipe", "vilbert"}
OTHER = {"test", "constraints", "quickstart", "albef-quickstart", "bundle-checkpoints"}  # no recipes
SCRIPTS = sorted(path.stem for path in (REPOSITORY / "shell").glob("*.sh") if path.stem not in SOURCED | OTHER)
ARGUMENTS = {"visualbert-chain": ("nlvr2",)}
EASY_VQA = "vqa-finetune"  # its sample is easy-VQA, of one size; the scenes are `sample-world`
FEWEST = "24"  # fewest scenes of pyutils.sample.world
VARIABLES = ("DATA", "DATA_DIR", "COCO_DIR", "SCENES", "SAMPLE_SCENES", "SAMPLE_ROOT", "MODEL", "CONFIG", "LOG_DIR")
VARIABLES += ("DATASET", "DATASETS", "ANNOTATIONS", "MODE", "TEXT_ENCODER", "NPROC", "PYTHONPATH")
# Runs `-m MODULE` as Python does. Instead of training, a run_<task>.py prints its resolved configuration and leaves the
# checkpoint folder that later recipes of ALBEF look for.
STUB = """#!{python}
import runpy, sys
sys.path.insert(0, {repository!r})
sys.argv = sys.argv[1:]
if sys.argv[0] == "-m":
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
elif "run_predict" not in sys.argv[0]:
    import pathlib
    import pyutils.engine.run as engine
    from pyutils.config.command_line import print_config
    def run_task(run, config, *rest):
        print_config(config)
        pathlib.Path(config.output_dir, "last").mkdir(parents=True, exist_ok=True)
    engine.run_task = run_task
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A repository with empty data folders, whose sample data all tests share."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("shell", "configs", "pyutils", "albef_paddle", "vilbert_paddle", "visualbert_paddle"):
        (folder / name).symlink_to(REPOSITORY / name)
    stub = folder / "python"
    stub.write_text(STUB.format(python=sys.executable, repository=str(REPOSITORY)))
    stub.chmod(0o755)
    return folder


def run_script(root, caller, script, *arguments, **variables):
    kept = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    environment = {**kept, "ROOT": str(root), "PYTHON": str(root / "python"), "GPUS": "", **variables}
    command = ["sh", str(root / f"shell/{script}.sh"), *ARGUMENTS.get(script, ()), *arguments]
    return subprocess.run(command, cwd=caller, env=environment, capture_output=True, text=True, timeout=300)


def check_reaches_training(root, done, data):
    """The last printed configuration reads files below one of the `data` folders, and all of them exist."""
    assert done.returncode == 0, done.stderr
    config = done.stdout[done.stdout.rindex("\ntask: ") :]
    paths = set(re.findall(r"\b(?:sample_data|data)/[\w/.+()-]+", config))
    assert {Path(path).parts[:2] for path in paths} <= {Path(folder).parts for folder in data}
    # More than the vocabulary; multi-task names the recipes that have the other paths.
    assert len(paths) > 1 or (paths and "task: vilbert_multitask" in config)
    assert [path for path in sorted(paths) if not (root / path).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_recipe_reaches_training_on_the_sample(root, tmp_path, script):
    sample = "sample-world" if script == EASY_VQA else "sample"
    done = run_script(root, tmp_path, script, DATA_DIR=sample, SCENES=FEWEST)
    folder = {"albef": ("sample_data/world_small",), "vilbert": ("data/world", "data/world_captions")}
    check_reaches_training(root, done, folder.get(script.split("-")[0], ("sample_data/visualbert_world",)))
    assert f" {FEWEST} synthetic scenes per source" in done.stdout


@pytest.mark.slow
def test_the_sample_of_vqa_is_easy_vqa(root, tmp_path):
    done = run_script(root, tmp_path, EASY_VQA, DATA_DIR="sample")
    check_reaches_training(root, done, ("sample_data/easy_vqa",))


@pytest.mark.parametrize("script, stages", [("albef-nlvr", 3), ("albef-retrieval", 2)])
def test_settings_reach_what_a_script_trains_first(root, tmp_path, script, stages):
    shutil.rmtree(root / "output", ignore_errors=True)
    settings = ["--set", "train.max_steps=7", "--seed", "5", "--set=model.embed_dim=12", "--set", "eval_split=train"]
    done = run_script(root, tmp_path, script, *settings, DATA_DIR="sample", SCENES=FEWEST)
    assert done.returncode == 0, done.stderr
    for text in ("\n  max_steps: 7\n", "\n  seed: 5\n", "\n  embed_dim: 12\n"):
        assert done.stdout.count(text) == stages, text
    assert done.stdout.count("\neval_split: train\n") == 1  # a split of the last stage's own


def test_earlier_spellings_work(root, tmp_path):
    done = run_script(root, tmp_path, "albef-pretrain", DATA="sample", SAMPLE_SCENES=FEWEST)
    check_reaches_training(root, done, ("sample_data/world_small",))
    assert f" {FEWEST} synthetic scenes per source" in done.stdout


@pytest.mark.parametrize("script", ["albef-pretrain", "vilbert-pretrain", "vqa-pretrain"])
@pytest.mark.parametrize("scenes", ["x[$(touch made)]", "-24", "1e3", "024", "24 25"])
@pytest.mark.parametrize("variable", ["SCENES", "SAMPLE_SCENES"])
def test_another_size_than_digits_is_refused_and_never_executed(root, tmp_path, script, scenes, variable):
    done = run_script(root, tmp_path, script, DATA_DIR="sample", **{variable: scenes})
    assert done.returncode == 2
    assert "SCENES" in done.stderr and scenes in done.stderr
    assert not (tmp_path / "made").exists() and not (root / "made").exists()
