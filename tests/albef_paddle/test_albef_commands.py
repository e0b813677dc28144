"""The commands of ALBEF's users, with their flags and configuration files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from albef_paddle.sample import captions_of, make_easy_vqa_lists
from albef_paddle.tasks.vqa import AlbefVQA, AlbefVQAConfig
from pyutils.config import load_config
from pyutils.data.annotations import albef
from pyutils.data.records import VQARecord
from pyutils.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def retrieval_yaml(world, write_yaml):
    splits = world.lists(train="flickr30k_train.json", val="flickr30k_val.json", test="flickr30k_test.json")
    return write_yaml("flickr30k", splits, k_test=100, eval_split="test")


def command(script: str, *arguments: object, status: int = 0, processes: int = 1, log: Path | None = None) -> str:
    """Run `albef_paddle/SCRIPT`, in several processes where asked for, and return what it printed."""
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", processes, "--log_dir", log]
    start = launcher if processes > 1 else []
    line = [sys.executable, *start, ROOT / "albef_paddle" / script, *arguments]
    done = subprocess.run([str(part) for part in line], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_original_command_line_trains_and_evaluates(world, retrieval_yaml, tmp_path):
    out = tmp_path / "Retrieval_flickr"
    common = ["--config", retrieval_yaml, "--output_dir", out, "--textencoder", world.vocabulary.parent]
    devices = ["--device", "cuda", "--distributed", "False"]
    said = command("run_retrieval.py", *common, *devices)
    assert "running on the CPU" in said
    assert "k_test 100 is larger than the split" in said
    checkpoint = out / "best" / "model.safetensors"
    said = command("run_retrieval.py", *common, "--checkpoint", checkpoint, *devices, "--evaluate")
    assert "txt_r1" in said
    metrics = json.loads((out / "metrics_test.json").read_text())
    assert 0 <= metrics["r_mean"] <= 100


def test_the_table_of_commands_imports_neither_paddle_nor_a_task():
    code = "import sys, albef_paddle.commands; print([m for m in sys.modules if m == 'paddle' or '.tasks' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_flag_names_the_nearest():
    assert "did you mean" in command("run_retrieval.py", "--checkpont", "x", status=2)


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(retrieval_yaml, tmp_path):
    both, one, two = tmp_path / "both", tmp_path / "one", tmp_path / "two"
    common = ["--config", retrieval_yaml, "--set", "train.batch_size=4"]
    command("run_retrieval.py", *common, "--output_dir", both, processes=2, log=tmp_path / "log")
    weights = ["--checkpoint", both / "best", "--evaluate", "--set", "k_test=4"]
    command("run_retrieval.py", *common, "--output_dir", one, *weights)
    command("run_retrieval.py", *common, "--output_dir", two, *weights, processes=2, log=tmp_path / "log2")
    assert json.loads((one / "metrics_test.json").read_text()) == json.loads((two / "metrics_test.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "images", "lists", "entries"),
    [
        ("run_ve.py", "flickr30k", {"train": "ve_train.json", "val": "ve_dev.json"}, {}),
        ("run_nlvr.py", "nlvr2", {"train": "nlvr_train.json", "val": "nlvr_dev.json"}, {}),
        ("run_nlvr_pretrain.py", "coco", {"train": "coco_pretrain.json", "val": "coco_pretrain.json"}, {}),
        ("run_pretrain.py", "coco", {"train": "coco_pretrain.json", "val": "coco_pretrain.json"}, {}),
        ("run_grounding.py", "coco", {"train": "refcoco+_train.json", "val": "refcoco+_test.json"}, {"block_num": 1}),
    ],
)
def test_every_script_runs(world, write_yaml, tmp_path, script, images, lists, entries):
    path = write_yaml(images, world.lists(**lists), **entries)
    command(script, "--config", path, "--device", "cpu", "--output_dir", tmp_path / "out", "--seed", 3)
    assert (tmp_path / "out" / "best" / "model.safetensors").is_file()


RECIPES = ("grounding", "nlvr-pretrain", "nlvr", "pretrain", "retrieval", "ve", "vqa")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_without_data_says_what_is_missing(recipe, tmp_path):
    script = ROOT / "shell" / f"albef-{recipe}.sh"
    environment = {**os.environ, "PYTHON": sys.executable, "DATA": "", "CONFIG": ""}
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert f"is missing below {tmp_path}" in done.stderr
    assert "python -m pyutils.data.prepare" in done.stderr
    assert f"DATA_DIR=sample sh {script}" in done.stderr


def test_the_small_recipes_start_from_what_others_write():
    lines = [line for path in (ROOT / "configs/albef/tiny").glob("*.yaml") for line in path.read_text().splitlines()]
    starts = {line.split()[1] for line in lines if line.startswith("init: ")}
    written = {line.split()[1] for line in lines if line.startswith("output_dir: ")}
    assert starts and starts <= {f"{folder}/{kept}" for folder in written for kept in ("best", "last")}


def write_easy_vqa(folder: Path) -> Path:
    """Three splits of one image and two questions in easy-VQA's official files; returns `folder`."""
    annotations = folder / "VQA2" / "annotations"
    annotations.mkdir(parents=True)
    for number, split in enumerate(("train2014", "val2014", "test2015"), start=1):
        (folder / "images" / split).mkdir(parents=True)
        Image.new("RGB", (64, 64), (40 * number, 0, 0)).save(folder / f"images/{split}/COCO_{split}_{number:012d}.png")
        questions, answers = [], []
        for place, (question, answer) in enumerate((("is there a circle?", "yes"), ("what color?", "red"))):
            key = {"question_id": 10 * number + place, "image_id": number}
            questions.append({**key, "question": question})
            given = [{"answer": answer, "answer_id": n, "answer_confidence": "yes"} for n in range(1, 11)]
            kind = {"question_type": "is", "answer_type": "other", "multiple_choice_answer": answer}
            answers.append({**key, **kind, "answers": given})
        for name, content in (
            (f"v2_OpenEnded_mscoco_{split}_questions.json", {"questions": questions, "data_subtype": split}),
            (f"v2_mscoco_{split}_annotations.json", {"annotations": answers, "data_subtype": split}),
        ):
            (annotations / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_lists_of_easy_vqa_name_its_images_and_answers(tmp_path):
    data = write_easy_vqa(tmp_path / "easy")
    lists = make_easy_vqa_lists(data)
    for name in ("vqa_train.json", "vqa_val.json", "vqa_test.json"):
        records = albef.read_vqa([lists / name])
        assert [set(record.answers) for record in records] == [{"yes"}, {"red"}]
        assert all((data / "images" / record.image).is_file() for record in records)
    assert albef.read_answer_list(lists / "answer_list.json") == ("yes", "red")
    captions = json.loads((lists / "captions_train.json").read_text(encoding="utf-8"))
    assert captions == [{"image": f"train2014/COCO_train2014_{1:012d}.png", "caption": "a red circle is in the image"}]


@pytest.mark.parametrize(
    ("answered", "caption"),
    [
        ([("what shape is in the image?", "triangle"), ("what color is the shape?", "red")], "a red triangle is in"),
        ([("is there a circle?", "yes"), ("is there a triangle?", "no")], "a circle is in"),
        ([("is there not a circle?", "yes"), ("what color is the shape?", "teal")], "a teal shape is in"),
        ([("is there not a circle?", "no"), ("is no teal shape present?", "yes")], "a circle is in"),
        ([("does the image not contain a blue shape?", "no"), ("is there a triangle?", "no")], "a blue shape is in"),
        ([("what color is the circle?", "gray")], "a gray circle is in"),
        ([("what is the gray shape?", "rectangle")], "a gray rectangle is in"),
        ([("is there a circle?", "no"), ("is a teal shape present?", "no")], "a shape is in"),
    ],
)
def test_captions_of_easy_vqa_follow_the_answers(answered, caption):
    records = [VQARecord(number, "COCO_1", *said[:1], answers=said[1:]) for number, said in enumerate(answered)]
    found = list(captions_of(records, "train2014", ".png"))
    assert found == [{"image": "train2014/COCO_1.png", "caption": f"{caption} the image"}]


def test_lists_of_an_incomplete_easy_vqa_say_how_to_write_it(tmp_path):
    data = write_easy_vqa(tmp_path / "easy")
    (data / "VQA2/annotations/v2_mscoco_val2014_annotations.json").unlink()
    with pytest.raises(InputError, match="easy: lacks val2014; write it with python -m pyutils.sample easy-vqa"):
        make_easy_vqa_lists(data)


def test_the_worlds_test_questions_have_answers(world):
    records = albef.read_vqa([world.data / "albef" / "vqa_test.json"])
    assert all(record.answers and (world.data / "coco" / record.image).is_file() for record in records)


@pytest.fixture
def easy_task(tmp_path):
    """Makes AlbefVQA on the small easy-VQA with `data` settings: `easy_task(augment="none")`."""
    data = write_easy_vqa(tmp_path / "easy")
    lists = make_easy_vqa_lists(data)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "is", "there", "a", "circle", "?", "what", "color", "yes"]
    (data / "vocab.txt").write_text("\n".join([*words, "red"]), encoding="utf-8")

    def make(**settings: object) -> AlbefVQA:
        overrides = {
            "tokenizer": data / "vocab.txt",
            "answer_list": lists / "answer_list.json",
            "data.images": f"[{data / 'images'}]",
            "data.splits": f"{{train: [{lists / 'vqa_train.json'}]}}",
            **{f"data.{name}": value for name, value in settings.items()},
        }
        path = ROOT / "configs/albef/tiny/easy_vqa.yaml"
        return AlbefVQA(load_config(AlbefVQAConfig, path, [f"{name}={value}" for name, value in overrides.items()]))

    return make


@pytest.mark.parametrize(
    ("augment", "crop", "recoloured"), [("original", True, True), ("crop", True, False), ("none", False, False)]
)
def test_augmentation_can_be_reduced(easy_task, augment, crop, recoloured):
    task = easy_task(augment=augment)
    transform = task.images(training=True).transform
    assert (transform.crop_scale is not None, transform.augment is not None) == (crop, recoloured)
    assert not task.images(training=False).transform.random


def test_kept_images_equal_the_files_and_are_read_once(easy_task):
    plain, kept = (easy_task(keep_decoded=keep).images(training=True) for keep in ("false", "true"))
    key = easy_task().train_records()[0].image
    expected = plain.read(key, np.random.default_rng(1))
    np.testing.assert_array_equal(kept.read(key, np.random.default_rng(1)), expected)
    Image.new("RGB", (64, 64), (0, 255, 0)).save(kept.path(key))
    np.testing.assert_array_equal(kept.read(key, np.random.default_rng(1)), expected)
    assert not np.array_equal(plain.read(key, np.random.default_rng(1)), expected)
