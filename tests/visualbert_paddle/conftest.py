"""A drawn world in VQA v2's files, and a configuration small enough for tests."""

from __future__ import annotations

import pytest

from pyutils.config import load_config
from pyutils.sample.world import write_world
from tests.visualbert_paddle.support import DIMENSION, world_yaml
from visualbert_paddle.tasks.vqa import VisualBertVQAConfig


@pytest.fixture(scope="session")
def vqa_world(tmp_path_factory):
    """Folder of a drawn world of 40 scenes with its VQA files."""
    folder = tmp_path_factory.mktemp("world") / "vqa"
    write_world(folder, 40, 0, ["vqa"], DIMENSION)
    return folder


@pytest.fixture(scope="session")
def whole_world(tmp_path_factory):
    """Folder of a drawn world of 48 scenes with the files of every task of VisualBERT."""
    folder = tmp_path_factory.mktemp("world") / "whole"
    write_world(folder, 48, 0, ["vqa", "coco", "nlvr2", "vcr", "entities"], DIMENSION)
    return folder


@pytest.fixture
def vqa_yaml(vqa_world, tmp_path):
    """A configuration file for that world."""
    path = tmp_path / "vqa.yaml"
    path.write_text(world_yaml(vqa_world, tmp_path / "run"), encoding="utf-8")
    return path


@pytest.fixture
def vqa_config(vqa_yaml):
    """The same, read; call with overrides (`"a.b=c"`)."""
    return lambda *overrides: load_config(VisualBertVQAConfig, vqa_yaml, overrides)
