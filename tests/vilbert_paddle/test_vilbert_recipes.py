"""The recipes: decay and rates of every parameter against the groups of the originals' scripts, and the files that the
shell scripts ask for against those that the configurations name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyutils.config import load_config
from pyutils.data.refer import SPLITTINGS
from pyutils.optim import OptimizerConfig
from pyutils.optim.build import trained_parameters
from tests.support import golden
from tests.vilbert_paddle.support import TASK_HEADS, config_of, tasks_of
from vilbert_paddle.checkpoints.weights import NAME_MAPS
from vilbert_paddle.network.heads import HEADS, PRETRAINING, VilbertForPretraining
from vilbert_paddle.tasks.multitask import TASKS, MultitaskTask
from vilbert_paddle.tasks.parameter_groups import with_groups
from vilbert_paddle.tasks.pretrain import PretrainTask

ROOT = Path(__file__).resolve().parents[2]
GROUPS = golden("vilbert/optim").json("param_groups.json")
CASES = {
    "train_concap(from_pretrained, learning_rate=0.0001)": (PRETRAINING, 1e-4, "none"),
    "train_concap(no from_pretrained)": (PRETRAINING, 1e-4, "none"),
    "train_tasks(base_lr=0.001)": (HEADS, 1e-3, "original"),
    "train_tasks(base_lr=0.001, vision_scratch)": (HEADS, 1e-3, "everything"),
}


def groups(model, config):
    """Our name → (rate, decay)."""
    entries = trained_parameters(config, dict(model.named_parameters()))
    return {entry.name: (entry.lr_factor * config.lr, entry.weight_decay) for entry in entries}


def model_for(heads):
    if heads is PRETRAINING:  # the recorded groups are those of the models of vl_tasks
        return VilbertForPretraining(config_of(golden("vilbert/vl_tasks")))
    return tasks_of("vilbert/vl_tasks")[0]


@pytest.mark.parametrize("case", sorted(CASES))
def test_groups_of_the_original_scripts(case):
    heads, lr, rates = CASES[case]
    assert set(GROUPS) == set(CASES)
    model = model_for(heads)
    found = groups(model, with_groups(OptimizerConfig(lr=lr, weight_decay=0.01), heads, "original", rates))
    values = {name: value.numpy() for name, value in model.named_parameters()}
    expected = {name: (rate or lr, decay) for name, rate, decay in GROUPS[case]}
    for name, settings in found.items():
        (theirs,) = NAME_MAPS["authors"].to_theirs({name: values[name]}).tensors
        assert settings == pytest.approx(expected.pop(theirs)), name
    assert all("q_dense" in name for name in expected)  # nothing uses them


def test_default_decay_spares_every_norm():
    model = model_for(HEADS)
    found = groups(model, with_groups(OptimizerConfig(lr=4e-5, weight_decay=0.01), HEADS))
    for name, (_, decay) in found.items():
        assert (decay == 0.0) == (name.endswith("bias") or "norm." in name), name


def test_patterns_of_the_configuration_come_before_the_preset():
    own = OptimizerConfig(lr=4e-5, weight_decay=0.01, no_decay=["^heads"])
    assert with_groups(own, HEADS, "original").no_decay == ["^heads"]


def test_inverted_decay_is_the_complement_of_the_originals():
    model = model_for(HEADS)
    right, wrong = (
        groups(model, with_groups(OptimizerConfig(lr=4e-5, weight_decay=0.01), HEADS, rule))
        for rule in ("original", "inverted")
    )
    assert all((right[name][1] == 0.0) != (wrong[name][1] == 0.0) for name in right)


def test_new_heads_are_all_that_pretraining_lacks():
    model = model_for(HEADS)
    found = groups(model, with_groups(OptimizerConfig(lr=4e-5), HEADS))
    for name, (rate, _) in found.items():
        new = any(name.startswith(f"heads.{head}.") for head in TASK_HEADS if head != "alignment")
        assert rate == pytest.approx(1e-4 if new else 4e-5), name


def test_a_model_without_new_heads_needs_no_pattern():
    assert with_groups(OptimizerConfig(), PRETRAINING).lr_multipliers == {}
    assert with_groups(OptimizerConfig(), ["region"], rates="original").lr_multipliers == {}


def test_patterns_of_the_user_come_last():
    config = with_groups(OptimizerConfig(lr_multipliers={"^heads": 3.0}), ["region"])
    assert list(config.lr_multipliers)[-1] == "^heads"


def training_files(recipe):
    """What training by configs/vilbert/RECIPE.yaml reads, evaluation on `val` included; of patterns one file."""
    name = recipe.split("_")[0]
    kind = {"multitask": MultitaskTask, "pretrain": PretrainTask}.get(name) or TASKS[
        "refer" if name.startswith("refcoco") else name
    ]
    config = load_config(kind.config_class, ROOT / f"configs/vilbert/{recipe}.yaml")
    if name == "multitask":
        members = {Path(member.config).stem for member in config.tasks.values()}
        return set().union(*map(training_files, members))
    if name == "pretrain":
        return {path.replace("*", "000000") for split in ("train", "val") for path in config.pretrain.splits[split]}
    files = {config.init, config.regions.path}
    if name == "vqa":
        parts = [part for split in ("train", "val") for part in config.vqa.splits[split]]
        names = {config.vqa.answers, *(name for part in parts for name in (part.questions, part.annotations))}
        return files | {f"{config.vqa.root}/{name}" for name in names}
    if name == "retrieval":
        return files | {config.retrieval.annotations, config.retrieval.hard_negatives}
    if name.startswith("refcoco") or name == "vcr":
        files.add(config.annotated_regions.path)
    if name.startswith("refcoco"):
        folder = f"{config.refer.root}/{config.refer.dataset}"
        return files | {f"{folder}/refs({SPLITTINGS[name][0]}).p", f"{folder}/instances.json"}
    section = getattr(config, {"ve": "snli_ve"}.get(name, name))
    return files | {f"{section.root}/{section.splits[split]}" for split in ("train", "val")}


def started(folder, recipe, *arguments, **settings):
    """The recipe's script in `folder`, with a Python that prints what it is given."""
    fake = folder / "python"
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if key not in ("DATA_DIR", "MODEL", "CONFIG", "LOG_DIR")}
    environment = {**kept, "PYTHON": str(fake), "GPUS": "", **settings}
    name = "refer" if recipe.startswith("refcoco") else recipe
    if name == "refer":
        environment["DATASET"] = recipe
    command = ["sh", str(ROOT / f"shell/vilbert-{name}.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=60)


def put(folder, files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


SCRIPTS = ("vqa", "refcoco", "refcoco+", "refcocog", "retrieval", "nlvr2", "ve", "vcr", "multitask", "pretrain")


@pytest.mark.parametrize("recipe", SCRIPTS)
def test_scripts_ask_for_every_file_of_their_recipe(recipe, tmp_path):
    files = training_files(recipe)
    put(tmp_path, files)
    done = started(tmp_path, recipe)
    assert done.returncode == 0, done.stderr
    assert f"configs/vilbert/{recipe}.yaml" in done.stdout
    for file in files:
        (tmp_path / file).unlink()
        done = started(tmp_path, recipe, LOG_DIR="logs")
        assert done.returncode == 2, f"{file} is not asked for"
        assert f"{tmp_path / file} is missing".replace("000000", "*") in done.stderr
        assert str(ROOT / "docs/vilbert.md") in done.stderr
        put(tmp_path, [file])
    assert (ROOT / "docs/vilbert.md").is_file()


@pytest.mark.parametrize("recipe", ["vqa", "refcoco+"])
def test_scripts_take_weights_by_name(recipe, tmp_path):
    files = training_files(recipe)
    put(tmp_path, {file for file in files if not file.startswith("checkpoints/")})
    assert started(tmp_path, recipe).returncode == 2
    done = started(tmp_path, recipe, MODEL="vilbert-cc-6layer")
    assert "--from_pretrained vilbert-cc-6layer" in done.stdout


@pytest.mark.parametrize("recipe", ["vqa", "refcoco+"])
def test_with_arguments_scripts_leave_the_question_to_the_program(recipe, tmp_path):
    assert started(tmp_path, recipe, "--features", "elsewhere").returncode == 0


def test_an_unknown_data_set_is_called_unknown(tmp_path):
    kept = {key: value for key, value in os.environ.items() if key not in ("DATA_DIR", "DATASET")}
    for settings, said in (
        ({"DATASET": "refcoco++"}, "unknown data set 'refcoco++'"),
        ({"DATASET": "refcocog", "DATA_DIR": "sample"}, "DATASET=refcocog"),
    ):
        command = ["sh", str(ROOT / "shell/vilbert-refer.sh")]
        environment = {**kept, "PYTHON": sys.executable, **settings}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
        assert done.returncode == 2 and said in done.stderr
        assert not list(tmp_path.iterdir())
