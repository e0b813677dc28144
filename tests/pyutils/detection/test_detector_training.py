"""Training of the detector: the drawn data set, its reader, a run, and its weights as an extractor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.detection.__main__ import RECIPE
from pyutils.detection.data import BoxConfig, BoxSplit, read_split
from pyutils.detection.task import DetectorRunConfig, DetectorTask, counts_of, load_initial
from pyutils.engine.evaluation import split_loader
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from pyutils.regions.detector import Detections
from pyutils.regions.extractors import open_detector
from pyutils.regions.training import Targets
from pyutils.sample.boxes import make_boxes
from pyutils.sample.scenes import COLOURS, SHAPES

ROOT = Path(__file__).resolve().parents[3]
SMALL = (
    *("model.stem_channels=4", "model.width=2", "model.res2_channels=4", "model.rpn_channels=8", "model.min_side=96"),
    *("model.rpn_after_nms=12", "model.pooled_size=4", "model.min_boxes=2", "model.max_boxes=8"),
    *("losses.region_samples=12", "train.batch_size=4", "train.schedule.warmup_steps=1", "train.scalars=false"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes") / "data"
    assert make_boxes(folder, 20)
    assert not make_boxes(folder, 20)
    return folder


@pytest.fixture
def config(data, tmp_path):
    def make(*overrides):
        own = (f"boxes.root={data}", f"output_dir={tmp_path / 'run'}", *SMALL, *overrides)
        return load_config(DetectorRunConfig, RECIPE, own)

    return make


def test_boxes_are_around_things_of_their_colour(data):
    content = json.loads((data / "train.json").read_text())
    assert len(content["images"]) == 17 and len(json.loads((data / "val.json").read_text())["images"]) == 3
    files = {image["id"]: image["file_name"] for image in content["images"]}
    names, colours = (
        (data / "objects_vocab.txt").read_text().split(),
        (data / "attributes_vocab.txt").read_text().split(),
    )
    assert names == [category["name"] for category in content["categories"]] == [*SHAPES, "box"]
    squares = [note for note in content["annotations"] if names[note["category_id"] - 1] == "square"]
    assert squares
    for note in squares:
        pixels = np.asarray(Image.open(data / "train" / files[note["image_id"]])).astype(float)
        x, y, width, height = note["bbox"]
        middle = pixels[int(y + height * 0.3) : int(y + height * 0.7), int(x + width * 0.3) : int(x + width * 0.7)]
        wanted = np.array(COLOURS[colours[note["attribute_ids"][0]]])
        assert np.abs(np.median(middle, axis=(0, 1)) - wanted).max() < 40


def test_records_follow_the_file(data):
    split = BoxSplit("train", "train.json")
    records = read_split(BoxConfig(str(data), {"train": split}), "train", 7, 8)
    content = json.loads((data / "train.json").read_text())
    first = [note for note in content["annotations"] if note["image_id"] == content["images"][0]["id"]]
    assert records[0].path.endswith("train/000001.png")
    for note, box, kind, attribute in zip(first, records[0].boxes, records[0].classes, records[0].attributes):
        x, y, width, height = note["bbox"]
        assert box == (x, y, x + width, y + height)
        assert (kind, attribute) == (note["category_id"] - 1, note["attribute_ids"][0])


@pytest.mark.parametrize(
    "change, named",
    [
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 0, 4]), "train.json, annotation 0.*no area"),
        (lambda c: c["annotations"][0].update(category_id=99), "train.json, annotation 0.*99"),
        (lambda c: c["annotations"][0].update(attribute_ids=[8]), "train.json, annotation 0.*attribute 8"),
        (lambda c: c["annotations"][0].pop("bbox"), "train.json, annotation 0.*bbox"),
        (lambda c: c["categories"].pop(), "train.json: 6 categories.*model.classes is 7"),
        (lambda c: c.update(annotations=[]), "train.json: no image"),
        (lambda c: c.pop("images"), "train.json.*images"),
    ],
)
def test_bad_annotations_are_named(data, tmp_path, change, named):
    content = json.loads((data / "train.json").read_text())
    change(content)
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=named):
        read_split(BoxConfig(str(tmp_path), {"train": BoxSplit("train", "train.json")}), "train", 7, 8)


def test_unknown_splits_and_other_tasks(config):
    with pytest.raises(InputError, match="'test'.*train, val"):
        DetectorTask(config()).eval_records("test")
    with pytest.raises(InputError, match="task vqa"):
        DetectorTask(config("task=vqa"))


def test_objects_found_recognised_and_described():
    truth = Targets(np.float32([[0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 80, 80], [0, 50, 9, 59]]), None, None)
    truth = truth._replace(classes=np.array([1, 2, 3, 4]), attributes=np.array([5, -1, 6, 7]))
    boxes = np.float32([[20, 20, 41, 40], [0, 0, 10, 11], [60, 61, 80, 80], [90, 90, 99, 99]])
    classes, attributes, none = np.array([2, 1, 0, 4]), np.array([0, 4, 6, 7]), np.zeros(4)
    assert counts_of(Detections(boxes, classes, none, attributes, none, none, none), truth) == [4, 3, 2, 1]


def test_a_batch_is_the_same_in_every_run(config):
    task = DetectorTask(config())
    records = list(task.train_records())[:3]
    first, second = (task.collate(records, np.random.default_rng(0), True) for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)
    assert first["pixels"].shape == (3, 128, 128, 3) and first["counts"].tolist() == [len(r.boxes) for r in records]
    assert (first["seeds"] != task.collate(records, np.random.default_rng(1), True)["seeds"]).all()


def test_training_lowers_the_loss_and_gives_an_extractor(config, data, tmp_path):
    run_task(Run(None), config("train.max_steps=12", "train.log_every=1"), DetectorTask, load_initial)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())["best"]
    assert 0 <= metrics["described"] <= metrics["recognised"] <= metrics["found"] <= 100
    extractor = open_detector(str(tmp_path / "run"))
    assert extractor.config.classes == 7 and extractor.vocabulary[0][0] == "circle"
    regions, labels = extractor.labelled(np.asarray(Image.open(data / "val/000001.png").convert("RGB")))
    assert regions.features.shape[1] == 32 and len(labels) == len(regions) >= 1
    task = DetectorTask(config(f"init={tmp_path / 'run'}", "freeze_norms=true"))
    load_initial(task.model, str(tmp_path / "run"), [])
    batch = next(iter(split_loader(task, task.config.train, "val")))
    assert means_moved(task, batch) == 0
    assert means_moved(DetectorTask(config()), batch) > 50


TWO_PROCESSES = """
import sys
import numpy as np
from pyutils import distributed
from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.detection.__main__ import RECIPE
from pyutils.detection.task import DetectorRunConfig, DetectorTask, load_initial
from pyutils.engine.run import run_task
tasks = []
def build(config):
    tasks.append(DetectorTask(config))
    return tasks[-1]
run_task(Run(None), load_config(DetectorRunConfig, RECIPE, sys.argv[2:]), build, load_initial)
arrays = {name: value.numpy() for name, value in tasks[0].model.state_dict().items()}
np.savez(f"{sys.argv[1]}/{distributed.rank()}.npz", **arrays)
"""


@pytest.mark.parametrize("freeze", ["false", "true"])
def test_two_processes_train_one_network(data, tmp_path, freeze):
    """Statistics of batch norms too: the weights that the first one saves are those that both evaluate."""
    script = tmp_path / "train.py"
    script.write_text(TWO_PROCESSES)
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path)]
    own = (f"boxes.root={data}", f"output_dir={tmp_path / 'run'}", "train.batch_size=2", "train.max_steps=3")
    command += [str(script), str(tmp_path), *SMALL, *own, f"freeze_norms={freeze}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 process" in done.stdout + done.stderr
    first, second = (np.load(tmp_path / f"{rank}.npz") for rank in range(2))
    initial = DetectorTask(load_config(DetectorRunConfig, RECIPE, (*SMALL, *own))).model.state_dict()
    moved = {name for name in first.files if (first[name] != initial[name].numpy()).any()}
    assert all((first[name] == second[name]).all() for name in first.files)
    statistics = {name for name in first.files if name.endswith(("_mean", "_variance"))}
    assert bool(moved & statistics) == (freeze == "false") and len(moved - statistics) > 100
    saved = load_file(str(tmp_path / "run/last/model.safetensors"))
    assert all((saved[name] == first[name]).all() for name in saved)


def means_moved(task, batch):
    """The number of batch norms whose running mean one step of training moves."""
    before = {name: value.numpy().copy() for name, value in task.model.state_dict().items() if name.endswith("_mean")}
    task.model.train()
    float(task.loss(batch)[0])
    after = task.model.state_dict()
    return sum(bool((after[name].numpy() != value).any()) for name, value in before.items())
