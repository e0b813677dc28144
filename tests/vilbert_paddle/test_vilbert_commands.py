"""The commands as users type them, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyutils.config import Override, load_config
from pyutils.config.command_line import Run
from pyutils.config.loading import read_tree
from pyutils.weights import read
from tests.vilbert_paddle.worlds import NETWORK
from vilbert_paddle.commands import COMMANDS, network_settings, settle
from vilbert_paddle.tasks.base import with_recipe
from vilbert_paddle.tasks.multitask import TASKS, MultitaskTask

ROOT = Path(__file__).resolve().parents[2]


def script(name: str, *arguments, cwd=ROOT, launcher=()) -> subprocess.CompletedProcess:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PADDLE_")}
    command = [sys.executable, *launcher, str(ROOT / "vilbert_paddle" / name), *map(str, arguments)]
    environment = {**kept, "PYUTILS_CPU_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, env=environment)


def test_the_old_ports_command(yaml_of, tmp_path):
    """The flags of the old train.py and eval.py from another folder; only sizes come from our small configuration."""
    trained = script(
        *("run_refer.py", "--config", yaml_of("refer"), "--gradient_accumulation_steps", "2", "--batch_size", "16"),
        *("--learning_rate", "4e-5", "--num_train_epochs", "1", "--warmup_proportion", "0.1", "--num_workers", "0"),
        *("--weight_decay", "0.01", "--decay_factor", "0.1", "--do_lower_case", "True", "--optimizer", "BertAdam"),
        *("--output_dir", tmp_path / "checkpoints", "--save_name", "refcoco+"),
        cwd=tmp_path,
    )
    assert trained.returncode == 0, trained.stderr
    output = tmp_path / "checkpoints/refcoco+"
    settings = (output / "config.yaml").read_text()
    assert "batch_size: 8\n" in settings
    assert "accumulation_steps: 2\n" in settings
    assert "** ** Epoch {0} done!" in trained.stderr
    measured = script(
        *("run_refer.py", "--config", yaml_of("refer"), "--evaluate", "--from_pretrained", output / "best"),
        *("--output_dir", tmp_path / "results", "--batch_size", "32", "--split", "testB"),
    )
    assert measured.returncode == 0, measured.stderr
    assert set(json.loads((tmp_path / "results/testB/result.json").read_text())[0]) == {"id", "target", "IOU"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--learning_rat", "1"], 'did you mean "--learning_rate"'),
        (["--dataset", "refcoc"], "refcoco"),
        (["--set", "regions.path=/nowhere"], "/nowhere"),
        (["--config_file", "config/bert_base_7layer_7conect.json"], "bert_base_7layer_7conect.json"),
        (["--gradient_accumulation_steps", "3"], "does not divide the batch size 8"),
    ],
)
def test_wrong_commands_end_with_status_two(yaml_of, arguments, message):
    done = script("run_refer.py", "--config", yaml_of("refer"), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("folder", ["", "tiny"])
def test_every_recipe_is_read_by_its_task(folder):
    files = sorted((ROOT / "configs/vilbert" / folder).glob("*.yaml"))
    named = {file: read_tree(file).get("task") for file in files}
    assert {file.stem for file, name in named.items() if not name} <= {"finetune", "network"}
    for file, name in named.items():
        if name:
            task = COMMANDS.task_named(name)
            config = load_config(task.config_class, file)
            assert with_recipe(config, task.heads_of(config) if task is not MultitaskTask else ["vqa"]).train.epochs


def test_the_originals_network_names_need_no_file(tmp_path):
    settings = network_settings("config/bert_base_4layer_4conect.json")
    assert settings["model.regions.num_layers"] == 4
    assert network_settings("config/bert_base_6layer_6conect.json") == {}


@pytest.fixture
def together(yaml_of, world, tmp_path):
    """Writes the configuration of one task, or with "multitask" of two tasks on one network."""

    def write(kind, output):
        if kind != "multitask":
            return yaml_of(kind, output)
        path = tmp_path / f"multitask_{output}.yaml"
        tasks = f"""
tasks:
  refer: {{task: refer, config: "{yaml_of("refer")}"}}
  ve: {{task: ve, config: "{yaml_of("ve")}", share: 2, weight: 0.5}}
"""
        path.write_text(NETWORK.format(world=world, output=tmp_path / output) + tasks, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("kind", ["refer", "multitask"])
def test_two_processes_equal_one(kind, together, tmp_path):
    weights, metrics = {}, {}
    for name, batch, launcher in (
        ("one", "8", ()),
        ("two", "4", ("-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log"))),
    ):
        done = script(
            *(f"run_{kind}.py", "--config", together(kind, name), "--batch_size", batch, "--max_steps", "3"),
            *("--set", "train.eval_batch_size=5", "--set", "model.text.hidden_dropout=0"),
            *("--set", "model.text.attention_dropout=0", "--set", "model.regions.hidden_dropout=0"),
            *("--set", "model.regions.attention_dropout=0", "--set", "head_dropout=0"),
            # A rule without a division: AdamW makes a visible step of the rounding of a gradient that is almost zero.
            *("--set", "train.optimizer.name=sgd", "--set", "train.optimizer.lr=0.1", "--set", "new_head_lr=0.1"),
            launcher=launcher,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        weights[name] = read(tmp_path / name / "last/model.safetensors")
        metrics[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    for key, value in weights["one"].items():
        np.testing.assert_allclose(weights["two"][key], value, rtol=0, atol=2e-6, err_msg=key)
    assert metrics["one"] == metrics["two"]


def test_evaluation_takes_what_training_made_not_where_it_began(yaml_of, tmp_path):
    config = load_config(TASKS["refer"].config_class, yaml_of("refer"), ("init=start", "trained=published"))
    assert settle(Run(None), config).init == "start"
    assert settle(Run(None, evaluate=True), config).init == "published"
    named = Run(None, (Override("init", "start", "--from_pretrained"),), evaluate=True)
    assert settle(named, config).init == "start"
    (tmp_path / "run/best").mkdir(parents=True)
    assert settle(Run(None, evaluate=True), config).init == ""


@pytest.mark.parametrize("recipe", ["refer", "vqa", "vcr", "retrieval", "nlvr2", "ve", "pretrain", "multitask"])
def test_recipes_without_data_say_what_is_missing(recipe, tmp_path):
    kept = {key: value for key, value in os.environ.items() if key not in ("DATA_DIR", "MODEL", "CONFIG", "LOG_DIR")}
    path = ROOT / "shell" / f"vilbert-{recipe}.sh"
    environment = {**kept, "PYTHON": sys.executable}
    done = subprocess.run(["sh", path], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
    assert done.returncode == 2
    first, *_, last = done.stderr.splitlines()
    assert first.startswith(f"vilbert-{recipe}.sh: ")
    assert first.endswith(" is missing.")
    assert "data/" in first
    assert last.endswith(f"DATA_DIR=sample sh shell/vilbert-{recipe}.sh")
