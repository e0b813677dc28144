"""Predictions from checkpoints, and heat maps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from albef_paddle.checkpoints import weights as weights_module
from albef_paddle.checkpoints.weights import load_tensors
from albef_paddle.commands import COMMANDS
from albef_paddle.tasks.base import AlbefRunConfig, with_decay
from albef_paddle.tasks.entailment import AlbefEntailment, AlbefEntailmentConfig
from albef_paddle.tasks.matching import draw_maps
from albef_paddle.tasks.nlvr2 import AlbefNLVR2
from albef_paddle.tasks.retrieval import AlbefRetrieval, AlbefRetrievalConfig
from albef_paddle.tasks.vqa import AlbefVQA, AlbefVQAConfig
from pyutils.config import load_config
from pyutils.engine.trainer import Trainer
from pyutils.errors import InputError
from pyutils.weights.checkpoint import save_checkpoint


def predict(**flags):
    """run_predict.py with `flags`; True is a bare flag."""
    words = [[f"--{name}"] if value is True else [f"--{name}", str(value)] for name, value in flags.items()]
    COMMANDS.run_prediction([word for flag in words for word in flag])


@pytest.fixture
def image_file(tmp_path):
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
def test_a_match_is_scored_and_drawn(trained, image_file, tmp_path, capsys, mode, width):
    folder = trained(AlbefRetrieval, AlbefRetrievalConfig, "flickr30k", "flickr30k_{}.json")
    extra = {"checkpoint": folder, "image": image_file, "text": "a red star", "gradcam": True, "gradcam_mode": mode}
    predict(**extra, output=tmp_path / "out")
    said = capsys.readouterr().err
    assert "no match" in said
    drawn = Image.open(tmp_path / "out" / "gradcam.png")
    assert drawn.width == (width + (mode == "itm")) * 224  # the sentence, then [CLS] and three words


def test_questions_are_answered_one_by_one_and_whole(trained, world, image_file, tmp_path, capsys):
    answers = str(world.data / "albef" / "answer_list.json")
    folder = trained(AlbefVQA, AlbefVQAConfig, "coco", "vqa_{}.json", answer_list=answers)
    extra = {"checkpoint": folder, "task": "vqa", "image": image_file, "text": "is there a star?", "top": 2}
    predict(**extra)
    rows = [line for line in capsys.readouterr().err.splitlines() if line.startswith("|")]
    assert len(rows) == 4  # head, rule, two answers
    predict(checkpoint=folder, task="vqa", split="val", output=tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "result.json").read_text())) == 36


@pytest.fixture
def unread(monkeypatch):
    """Fails where weights are read."""

    def read(*_):
        raise AssertionError("weights were read")

    monkeypatch.setattr(weights_module, "read_checkpoint", read)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "--checkpoint is missing"),
        ({"checkpoint": "x.pth", "text": "a star"}, "x.pth: no such checkpoint"),
        (
            {"checkpoint": "weights/x.pth", "text": "a star", "task": ""},
            r"config.yaml: no such config.*--config",
        ),
        ({"checkpoint": "run", "task": "vqaa"}, "'albef_vqaa'.*albef_vqa"),
        ({"checkpoint": "run"}, "--image --text"),
        ({"checkpoint": "run", "text": "?!"}, r"--text '\?!' has no letter or digit"),
        ({"checkpoint": "run", "split": "val"}, "--split and --image"),
        ({"checkpoint": "run", "text": "a", "image": "other/picture.png"}, "other/picture.png: no such image file"),
        ({"checkpoint": "run", "text": "a", "image": "weights"}, "--image .*weights: no such image file"),
        ({"checkpoint": "run", "text": "a", "task": "nlvr"}, "--second_image"),
        ({"checkpoint": "run", "text": "a", "task": "ve", "gradcam": True}, "--gradcam is not for albef_ve"),
    ],
)
def test_wrong_flags_are_named(write_yaml, world, image_file, tmp_path, monkeypatch, unread, extra, message):
    monkeypatch.chdir(tmp_path)
    for folder, file in (("weights", "x.pth"), ("run", "model.safetensors")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / file).touch()
    named = {} if "task" in extra else {"task": "retrieval"}
    config = {"config": write_yaml("coco", world.lists(val="vqa_val.json"))} if extra.get("checkpoint") == "run" else {}
    with pytest.raises(InputError, match=message):
        predict(**{"image": image_file, **extra, **named, **config})


def test_flags_are_checked_against_the_settings_before_weights_are_read(
    write_yaml, world, image_file, tmp_path, unread
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").touch()
    path = write_yaml("coco", world.lists(val="vqa_val.json"))
    common = {"checkpoint": tmp_path / "run", "config": path, "output": f"{image_file}/x"}
    matching = {**common, "task": "retrieval", "image": image_file, "text": "a star", "gradcam": True}
    for extra, message in (
        ({**matching, "block_num": 3}, "block_num: .*mode itm.*found 3"),
        (matching, "--output_dir .*picture.png/x: .* is a file"),
        ({**common, "task": "ve", "split": "vall"}, "--output_dir .*picture.png/x: .* is a file"),
        ({**common, "task": "ve", "split": "vall", "output": tmp_path}, "split 'vall'.*did you mean \"val\""),
    ):
        with pytest.raises(InputError, match=message):
            predict(**extra)


@pytest.mark.parametrize(
    ("kind", "config_class", "images", "lists", "name", "asked"),
    [
        (AlbefVQA, AlbefVQAConfig, "coco", "vqa_{}.json", "vqa", "retrieval"),
        (AlbefRetrieval, AlbefRetrievalConfig, "flickr30k", "flickr30k_{}.json", "retrieval", "vqa"),
        (AlbefNLVR2, AlbefRunConfig, "nlvr2", "nlvr_train.json", "nlvr", "ve"),
    ],
)
def test_a_checkpoint_of_another_task_is_named(
    world, write_yaml, image_file, tmp_path, kind, config_class, images, lists, name, asked
):
    entries = {"answer_list": str(world.data / "albef" / "answer_list.json")} if name == "vqa" else {}
    path = write_yaml(images, world.lists(train=lists.format("train")), **entries)
    task = kind(load_config(config_class, path))
    save_checkpoint(tmp_path / "saved", task.model, task.config_text, task.checkpoint_files())
    file = tmp_path / "saved" / "model.safetensors"
    extra = {"image": image_file, "text": "a star", "task": asked}
    for source in (file, file.parent):
        with pytest.raises(InputError, match=rf"is of task albef_{name}.*, not of albef_{asked}"):
            predict(checkpoint=source, **extra)
    predict(**{"checkpoint": file, **extra, "task": name, **({"second_image": image_file} if name == "nlvr" else {})})


def test_two_image_weights_do_not_load_into_a_model_of_one_image(world, write_yaml, tmp_path):
    path = write_yaml("nlvr2", world.lists(train="nlvr_train.json"))
    pairs = AlbefNLVR2(load_config(AlbefRunConfig, path))
    single = AlbefEntailment(load_config(AlbefEntailmentConfig, path))
    tensors = {name: tensor.numpy() for name, tensor in pairs.model.state_dict().items()}
    with pytest.raises(InputError, match="nlvr.pth: .*NLVR2"):
        load_tensors(single.model, tensors, "nlvr.pth")


def test_the_last_block_says_that_words_are_blank(trained, image_file, tmp_path, capsys):
    folder = trained(AlbefRetrieval, AlbefRetrievalConfig, "flickr30k", "flickr30k_{}.json")
    extra = {"checkpoint": folder, "image": image_file, "text": "a red star", "gradcam": True}
    for block, said in ((1, False), (2, True)):
        predict(**extra, block_num=block, output=tmp_path / "out")
        assert ("only [CLS] reaches the score" in capsys.readouterr().err) == said


@pytest.mark.parametrize("number", ["0", "-3"])
def test_fewer_than_one_answer_is_refused(capsys, number):
    with pytest.raises(SystemExit):
        predict(top=number)
    assert f"--top: expected a whole number of at least 1, found '{number}'" in capsys.readouterr().err


def test_heat_is_warm_where_the_map_is_high(tmp_path, image_file):
    heat = np.zeros((1, 4, 4), np.float32)
    heat[0, 0, 0] = 1.0
    drawn = np.asarray(Image.open(draw_maps(tmp_path / "picture.png", heat, ["word"], tmp_path / "map.png")), float)
    warm, cold = drawn[18 + 28, 28], drawn[18 + 200, 200]
    assert warm[0] - warm[2] > cold[0] - cold[2] + 50
