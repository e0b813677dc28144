"""Predictions from checkpoints, and pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from albef_paddle.pictures import draw_maps
from albef_paddle.predict import predict
from albef_paddle.recipe import with_decay
from albef_paddle.tasks.retrieval import AlbefRetrieval, AlbefRetrievalConfig
from albef_paddle.tasks.vqa import AlbefVQA, AlbefVQAConfig
from pyutils.cli import Run
from pyutils.config import load_config
from pyutils.engine.trainer import Trainer
from pyutils.errors import InputError


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(path)
    return str(path)


@pytest.fixture
def trained(world, write_yaml, tmp_path):
    """Trains two steps and returns the output folder."""

    def train(kind, config_class, images, lists, **entries) -> str:
        splits = world.lists(train=lists.format("train"), val=lists.format("val"))
        path = write_yaml(images, splits, **entries)
        task = kind(with_decay(load_config(config_class, path)))
        Trainer(task, task.config.train, tmp_path / "run").run()
        return str(tmp_path / "run")

    return train


@pytest.mark.parametrize(("mode", "width"), [("itm", 4), ("itc", 1)])
def test_a_match_is_scored_and_drawn(trained, picture, tmp_path, capsys, mode, width):
    folder = trained(AlbefRetrieval, AlbefRetrievalConfig, "flickr30k", "flickr30k_{}.json")
    extra = {"checkpoint": folder, "image": picture, "text": "a red star", "gradcam": True, "gradcam_mode": mode}
    predict(Run(None, output_dir=str(tmp_path / "out"), extra=extra))
    said = capsys.readouterr().err
    assert "no match" in said
    drawn = Image.open(tmp_path / "out" / "gradcam.png")
    assert drawn.width == (width + (mode == "itm")) * 224  # the sentence, then [CLS] and three words


def test_questions_are_answered_one_by_one_and_whole(trained, world, picture, tmp_path, capsys):
    answers = str(world.data / "albef" / "answer_list.json")
    folder = trained(AlbefVQA, AlbefVQAConfig, "coco", "vqa_{}.json", answer_list=answers)
    extra = {"checkpoint": folder, "task": "vqa", "image": picture, "text": "is there a star?", "top": 2}
    predict(Run(None, extra=extra))
    rows = [line for line in capsys.readouterr().err.splitlines() if line.startswith("|")]
    assert len(rows) == 4  # head, rule, two answers
    predict(Run(None, output_dir=str(tmp_path / "out"), extra={"checkpoint": folder, "task": "vqa", "split": "val"}))
    assert len(json.loads((tmp_path / "out" / "result.json").read_text())) == 36


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "--checkpoint is missing"),
        ({"checkpoint": "x.pth"}, "x.pth: no config.yaml beside the weights: name the recipe's file with --config"),
        ({"checkpoint": "x", "task": "vqaa"}, "--task: unknown 'vqaa': did you mean"),
    ],
)
def test_wrong_flags_are_named(extra, message):
    with pytest.raises(InputError, match=message):
        predict(Run(None, extra=extra))


def test_an_image_without_text_is_named(trained, picture):
    folder = trained(AlbefRetrieval, AlbefRetrievalConfig, "flickr30k", "flickr30k_{}.json")
    with pytest.raises(InputError, match="--text is missing"):
        predict(Run(None, extra={"checkpoint": folder, "image": picture}))
    with pytest.raises(InputError, match="--split answers questions"):
        predict(Run(None, extra={"checkpoint": folder, "split": "val"}))


def test_only_the_named_image_is_looked_at(trained, picture, tmp_path):
    folder = trained(AlbefRetrieval, AlbefRetrievalConfig, "flickr30k", "flickr30k_{}.json")
    (tmp_path / "elsewhere").mkdir()
    for name in ("other/picture.png", "elsewhere"):
        with pytest.raises(InputError, match=f"{name}: no such image file"):
            predict(Run(None, extra={"checkpoint": folder, "image": str(tmp_path / name), "text": "a star"}))


def test_heat_is_warm_where_the_map_is_high(tmp_path, picture):
    heat = np.zeros((1, 4, 4), np.float32)
    heat[0, 0, 0] = 1.0
    drawn = np.asarray(Image.open(draw_maps(tmp_path / "picture.png", heat, ["word"], tmp_path / "map.png")), float)
    warm, cold = drawn[18 + 28, 28], drawn[18 + 200, 200]
    assert warm[0] - warm[2] > cold[0] - cold[2] + 50
