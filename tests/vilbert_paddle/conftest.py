"""A drawn world in every task's files, and configurations small enough for tests."""

from __future__ import annotations

import pytest

from pyutils.config import load_config
from pyutils.sample.world import write_world
from tests.vilbert_paddle.worlds import DIMENSION, task_yaml

PARTS = ["vqa", "nlvr2", "refcoco+", "snli-ve", "retrieval", "vcr", "concap"]


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Folder of a drawn world of 24 scenes a source."""
    folder = tmp_path_factory.mktemp("vilbert") / "world"
    write_world(folder, 24, 0, PARTS, DIMENSION)
    return folder


@pytest.fixture
def yaml_of(world, tmp_path):
    """Writes the configuration file of a task: `yaml_of("refer")`; the run goes to `tmp_path / "run"`."""

    def write(task: str, output: str = "run"):
        path = tmp_path / f"{task}_{output}.yaml"
        path.write_text(task_yaml(task, world, tmp_path / output), encoding="utf-8")
        return path

    return write


@pytest.fixture
def build(yaml_of):
    """Makes a task: `build(ReferTask, "refer", "train.epochs=2")`."""

    def make(task_class, task: str, *overrides: str):
        return task_class(load_config(task_class.config_class, yaml_of(task), overrides))

    return make
