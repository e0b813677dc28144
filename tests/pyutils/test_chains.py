"""Scripts that chain stages, each run whole on the smallest data: what they evaluate is what they trained.

VisualBERT's chain and VCR's two trainings: tests/visualbert_paddle/test_visualbert_recipes.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyutils.formats.tensor_files import read_safetensors
from pyutils.sample import easy_vqa
from tests.support import SmallEasyVQA

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = ("--set", "train.max_steps=2", "--set", "train.batch_size=8", "--set", "train.scalars=false")
FEWEST = "60"  # so that every split has two pairs of ALBEF


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The repository's code with easy-VQA's first thirty images in `sample_data`."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("shell", "configs", "pyutils", "albef_paddle", "vilbert_paddle", "visualbert_paddle"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


@pytest.fixture(scope="module")
def small_easy_vqa(root):
    pytest.importorskip("easy_vqa")
    small = SmallEasyVQA(easy_vqa._package(), 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(easy_vqa, "_package", lambda: small)
        easy_vqa.make_easy_vqa(root / "sample_data/easy_vqa")


def run(root, script, *arguments, shell="sh", **variables):
    given = {"ROOT": str(root), "PYTHON": sys.executable, "GPUS": "", "PYUTILS_CPU_THREADS": "1", **variables}
    kept = {key: value for key, value in os.environ.items() if key not in ("LOG_DIR", "OUTPUT", "MODEL", "DATA_DIR")}
    command = [shell, str(root / "shell" / script), *arguments]
    return subprocess.run(command, cwd=root, env={**kept, **given}, capture_output=True, text=True, timeout=600)


def weights(folder):
    return read_safetensors(folder / "model.safetensors")


def same(first, second):
    return all((first[name] == second[name]).all() for name in first)


@pytest.mark.slow
def test_albefs_quick_start_evaluates_the_weights_that_it_trained(root, small_easy_vqa, tmp_path):
    done = run(root, "albef-quickstart.sh", *SMALL, "--seed", "3", LOG_DIR=str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run/metrics_test.json").read_text())
    assert metrics["checkpoint"] == str(tmp_path / "run/best") and metrics["split"] == "test"
    start, best = weights(tmp_path / "run/pretrain/last"), weights(tmp_path / "run/best")
    shared = start.keys() & best.keys()
    assert shared and not same({name: start[name] for name in shared}, best)
    assert f"init: {tmp_path}/run/pretrain/last" in (tmp_path / "run/best/config.yaml").read_text()
    for folder in ("run", "run/pretrain"):
        assert "seed: 3" in (tmp_path / folder / "config.yaml").read_text()
    # Again: nothing is trained, the same is evaluated.
    (tmp_path / "run/metrics_test.json").unlink()
    again = run(root, "albef-quickstart.sh", *SMALL, "--seed", "3", LOG_DIR=str(tmp_path / "run"))
    assert again.returncode == 0 and again.stderr.count("resuming from") == 2, again.stderr
    assert json.loads((tmp_path / "run/metrics_test.json").read_text()) == metrics
    assert same(best, weights(tmp_path / "run/best"))
    # Another start than the one that was trained from is noticed.
    os.utime(tmp_path / "run/pretrain/last")
    stale = run(root, "albef-quickstart.sh", *SMALL, "--seed", "3", LOG_DIR=str(tmp_path / "run"))
    assert stale.returncode == 2 and f"{tmp_path}/run/pretrain/last was written after" in stale.stderr


@pytest.mark.slow
def test_visualberts_quick_start_evaluates_the_weights_that_it_trained(root, small_easy_vqa, tmp_path):
    output = str(tmp_path / "run")
    done = run(root, "quickstart.sh", "--max_steps", "2", "--seed", "3", shell="bash", OUTPUT=output)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run/metrics_test.json").read_text())
    assert metrics["checkpoint"] == str(tmp_path / "run/best")
    assert same(weights(tmp_path / "run/best"), weights(tmp_path / "run/last"))  # evaluated once, at the end
    assert "seed: 3" in (tmp_path / "run/config.yaml").read_text()


@pytest.mark.slow
def test_a_bundled_checkpoint_is_made_whole_from_one_command(root, small_easy_vqa, tmp_path):
    given = {"LOG_DIR": str(tmp_path / "runs"), "BUNDLED": str(tmp_path / "bundled")}
    done = run(root, "bundle-checkpoints.sh", "visualbert", *SMALL, **given)
    assert done.returncode == 0, done.stderr
    made, best = tmp_path / "bundled/visualbert-easy-vqa", weights(tmp_path / "runs/visualbert/best")
    assert same(weights(made), {name: array.astype("float16") for name, array in best.items()})
    measured = json.loads((tmp_path / "runs/visualbert/float16/metrics_test.json").read_text())
    assert Path(measured["checkpoint"]) == made
    assert json.loads((made / "metrics.json").read_text())["accuracy"] == measured["accuracy"]
    assert f"visualbert {' '.join(SMALL)}" in (made / "README.md").read_text()
    unknown = run(root, "bundle-checkpoints.sh", "vilbert", **given)
    assert unknown.returncode == 2 and "no entry vilbert-easy-vqa" in unknown.stderr


@pytest.mark.slow
def test_albefs_recipes_train_what_they_start_from_to_its_end(root, tmp_path):
    """NLVR2 starts from visual entailment, which starts from the pre-training."""
    few = {"DATA_DIR": "sample", "SCENES": FEWEST}
    interrupted = run(root, "albef-pretrain.sh", *SMALL, **few)
    assert interrupted.returncode == 0, interrupted.stderr
    state = root / "output/tiny_pretrain/last/state.json"
    assert '"finished": true' in state.read_text()
    done = run(root, "albef-ve.sh", *SMALL, LOG_DIR="output/tiny_ve", **few)
    assert done.returncode == 0 and "training it first" not in done.stdout, done.stderr
    state.write_text(state.read_text().replace('"finished": true', '"finished": false'))
    # The interrupted training was one of other settings, which resuming it names.
    other = ("--set", "train.max_steps=2", "--set", "train.batch_size=4", "--set", "train.scalars=false")
    refused = run(root, "albef-ve.sh", *other, LOG_DIR="output/tiny_ve", **few)
    assert refused.returncode == 2 and "train.batch_size" in refused.stderr and "training it first" in refused.stdout
    state.write_text(state.read_text().replace('"finished": false', '"finished": true'))
    done = run(root, "albef-nlvr.sh", *SMALL, LOG_DIR=str(tmp_path / "nlvr"), **few)
    assert done.returncode == 0, done.stderr
    assert "init: output/tiny_ve/last" in (tmp_path / "nlvr/config.yaml").read_text()


@pytest.mark.parametrize("words", [("--evaluate",), ("--set", "init=x"), ("--checkpoint", "x"), ("--output_dir=x",)])
@pytest.mark.parametrize("script, first", [("albef-quickstart.sh", ()), ("visualbert-chain.sh", ("vqa",))])
def test_arguments_that_break_a_chain_are_refused_before_anything_runs(root, script, first, words):
    done = run(root, script, *first, *words)
    assert done.returncode == 2 and words[-1 if words[0] == "--set" else 0] in done.stderr and "LOG_DIR" in done.stderr


def test_two_trainings_of_vcr_do_not_share_an_output_folder(root):
    done = run(root, "vcr-finetune.sh", "--output_dir", "x", DATA_DIR="sample")
    assert done.returncode == 2 and "--output_dir" in done.stderr and "LOG_DIR" in done.stderr
