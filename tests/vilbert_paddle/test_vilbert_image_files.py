"""Prediction about image files: their regions are extracted by the network that made the training features."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pyutils import pipeline
from pyutils.config import load_config, to_yaml
from pyutils.config.command_line import Run
from pyutils.data.features import RegionFeatures, open_regions
from pyutils.engine.image_regions import SPEC_FILE, saved_spec
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from pyutils.regions.__main__ import run as extract
from tests.support import write_small_detector
from tests.vilbert_paddle.worlds import task_yaml
from vilbert_paddle.checkpoints.weights import load_initial
from vilbert_paddle.commands import COMMANDS
from vilbert_paddle.tasks.base import with_recipe
from vilbert_paddle.tasks.multitask import TASKS


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return write_small_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, world, detector):
    """Regions of the world's COCO images, and a model for each of two tasks trained on them for one step."""
    folder = tmp_path_factory.mktemp("images")
    pictures = [path for path in world.rglob("COCO_*.jpg") if path.parent.name in ("train2014", "val2014")]
    for path in pictures:
        shutil.copy(path, folder)
    extract(["--images", str(folder), "--out", str(folder / "store"), "--detector", str(detector), "--boxes", "10:36"])
    for kind in ("vqa", "refer"):
        yaml = folder / f"{kind}.yaml"
        yaml.write_text(task_yaml(kind, world, folder / kind))
        overrides = ("train.max_steps=1", "model.region_dim=96", f"regions.path={folder / 'store'}")
        if kind == "refer":
            overrides += ("annotated_regions.path=",)
        config = load_config(TASKS[kind].config_class, yaml, overrides)
        run_task(Run(None), with_recipe(config, TASKS[kind].heads_of(config)), TASKS[kind], load_initial)
    return folder


def ask(capsys, checkpoint, **flags):
    """The printed answers about one image."""
    given = {"checkpoint": checkpoint, **flags}
    capsys.readouterr()
    COMMANDS.run_prediction([text for name, value in given.items() for text in (f"--{name}", str(value))])
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("| ")][2:]


@pytest.fixture
def image(folder):
    return sorted(folder.glob("COCO_val2014_*.jpg"))[0]


@pytest.mark.parametrize("kind, text", [("vqa", "Is there a red circle?"), ("refer", "the red circle")])
def test_an_image_file_is_answered_as_its_stored_features(folder, image, capsys, kind, text, monkeypatch):
    stored = ask(capsys, folder / kind, image=image.stem, text=text)
    assert len(stored) == 5
    assert saved_spec(folder / kind / "best") == open_regions(folder / "store").spec
    (folder / "store").rename(folder / "elsewhere")  # a user has the checkpoint, not the features it was trained on
    try:
        assert ask(capsys, folder / kind, image=image, text=text) == stored
        monkeypatch.chdir(folder)
        assert ask(capsys, kind, image=image.name, text=text) == stored
        assert ask(capsys, kind, image=sorted(folder.glob("COCO_*.jpg"))[1], text=text) != stored
    finally:
        (folder / "elsewhere").rename(folder / "store")


@pytest.mark.parametrize("kind, name", [("vqa", "visual-question-answering"), ("refer", "grounding")])
def test_the_pipeline_opens_the_extractor_of_the_training_features(folder, image, kind, name):
    text = "the red circle"
    store = open_regions(folder / "store")
    expected = pipeline(name, folder / kind, regions=store)(image, text).to_dict()
    ask = pipeline(name, folder / kind)
    found = ask(image, text).to_dict()
    for key in (found.keys() | expected.keys()) - {"images"}:
        assert found[key] == expected[key], key
    with Image.open(sorted(folder.glob("COCO_*.jpg"))[1]) as other:
        assert ask(other, text).to_dict() != found
    features = store[image.stem]
    assert ask(features, text).to_dict().keys() == found.keys()


def test_a_checkpoint_asked_without_its_extractor(folder, image, tmp_path):
    copy = shutil.copytree(folder / "vqa/best", tmp_path / "best")
    spec = json.loads((copy / SPEC_FILE).read_text())
    (copy / SPEC_FILE).write_text(json.dumps({**spec, "extractor": f"--detector {tmp_path / 'gone'} --boxes 10:36"}))
    features = open_regions(folder / "store")[image.stem]
    ask = pipeline("visual-question-answering", copy)
    assert len(ask(features, "What is it?").choices) == 5  # features need no extractor
    with pytest.raises(InputError, match="gone"):
        ask(image, "What is it?")
    (copy / SPEC_FILE).unlink()
    with pytest.raises(InputError, match="reads region features"):
        pipeline("visual-question-answering", copy)(image, "What is it?")


def test_images_in_which_nothing_is_found_are_named(folder, image):
    class Blind:
        def describe(self, images):
            return [RegionFeatures(np.zeros((0, 96), np.float32), np.zeros((0, 4), np.float32), 8, 8) for _ in images]

    with pytest.raises(InputError, match=f"{image.name}.*no region"):
        pipeline("visual-question-answering", folder / "vqa", regions=Blind())(image, "What is it?")


def test_annotated_boxes_that_are_not_read_are_said(folder, image, capsys, tmp_path):
    copy = shutil.copytree(folder / "refer/best", tmp_path / "best")
    config = load_config(TASKS["refer"].config_class, copy / "config.yaml", ("annotated_regions.path=gt.lmdb",))
    (copy / "config.yaml").write_text(to_yaml(config))
    pipeline("grounding", copy)
    assert "annotated_regions: trained with regions of annotated boxes too (gt.lmdb)" in capsys.readouterr().err
    COMMANDS.run_prediction(["--checkpoint", str(copy), "--image", str(image), "--text", "the red circle"])
    assert "annotated_regions: trained with" in capsys.readouterr().err
    pipeline("grounding", folder / "refer")
    assert "annotated" not in capsys.readouterr().err


def test_the_regions_are_drawn(folder, image, detector, capsys, tmp_path):
    flags = {"detector": detector, "boxes": "10:36", "draw_regions": tmp_path / "new/regions.png"}
    ask(capsys, folder / "vqa", image=image, text="What is it?", **flags)
    with Image.open(tmp_path / "new/regions.png") as drawn:
        assert min(drawn.size) > 500 and len(np.unique(np.asarray(drawn.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    with pytest.raises(InputError, match="--draw_regions.*needs an image file"):
        ask(capsys, folder / "vqa", image=image.stem, text="What is it?", draw_regions=tmp_path / "x.png")


def test_another_extractor_is_refused_with_both_named(folder, image, detector, capsys, tmp_path):
    ask_about = {"checkpoint": folder / "vqa", "image": image, "text": "What is it?"}
    with pytest.raises(InputError, match="10-36 boxes.*5-36 boxes.*--boxes 10:36"):
        ask(capsys, **ask_about, detector=detector, boxes="5:36")
    with pytest.raises(InputError, match="dimension '96'.*'512'"):
        ask(capsys, **ask_about, backbone="resnet18", weights=_resnet18(tmp_path), size=32, cells=1)
    with pytest.raises(InputError, match="no_such.jpg.*no such file"):
        ask(capsys, **{**ask_about, "image": "no_such.jpg"}, detector=detector)
    with pytest.raises(InputError, match="--split and --detector"):
        ask(capsys, folder / "vqa", split="val", detector=detector)
    (tmp_path / "words.jpg").write_text("no image")
    with pytest.raises(InputError, match="words.jpg"):
        ask(capsys, **{**ask_about, "image": tmp_path / "words.jpg"}, detector=detector, boxes="10:36")


def _resnet18(folder):
    import paddle
    from safetensors.numpy import save_file

    model = paddle.vision.models.resnet18(num_classes=0, with_pool=False)
    save_file({name: value.numpy() for name, value in model.state_dict().items()}, str(folder / "resnet18.safetensors"))
    return folder / "resnet18.safetensors"


def test_features_of_an_unknown_program_are_compared_by_name_and_dimension(folder, image, detector, capsys, tmp_path):
    """A checkpoint trained on published features records no extractor: the flags name it, and settings may differ."""
    shutil.copytree(folder / "vqa", tmp_path / "vqa")
    file = tmp_path / "vqa/best" / SPEC_FILE
    spec = json.loads(file.read_text())
    file.write_text(json.dumps({**spec, "extractor": "", "provenance": "published"}))
    question = {"image": image, "text": "What is it?"}
    assert len(ask(capsys, tmp_path / "vqa", **question, detector=detector, boxes="5:36")) == 5
    file.write_text(json.dumps({**spec, "extractor": "", "detector": "another"}))
    with pytest.raises(InputError, match="detector 'another'.*'bottom-up-96-25'"):
        ask(capsys, tmp_path / "vqa", **question, detector=detector)
    file.unlink()  # an old checkpoint
    assert len(ask(capsys, tmp_path / "vqa", **question, detector=detector, boxes="5:36")) == 5
