"""The originals' vilbert_tasks.yml: fields, single tasks, several together, and what is wrong with a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyutils.config import Override, load_config
from pyutils.config.command_line import Run
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.errors import InputError
from vilbert_paddle.commands import COMMANDS, with_task_file
from vilbert_paddle.config import CONFIGS
from vilbert_paddle.data.retrieval import read_caption_lines
from vilbert_paddle.originals import KINDS, multitask_overrides, read_tasks
from vilbert_paddle.tasks.multitask import TASKS, MultitaskTask
from vilbert_paddle.tasks.refer import ReferTask
from vilbert_paddle.tasks.vqa import VQATask

REFER = {
    "name": "refcoco+",
    "type": "V-logit",
    "loss": "BCEWithLogitLoss",
    "process": "normal",
    "task_id": 10,
    "dataroot": "datasets/refcoco",
    "features_h5path1": "datasets/refcoco/detected.lmdb",
    "features_h5path2": "datasets/refcoco/gt.lmdb",
    "train_annotations_jsonpath": "",
    "val_annotations_jsonpath": "",
    "max_seq_length": 21,
    "max_region_num": 91,
    "batch_size": 192,
    "eval_batch_size": 1024,
    "train_split": "train",
    "val_split": "testA",
    "start_iteration": 0,
    "lr": 0.00003,
    "num_epoch": 17,
    "fusion_method": "sum",
}
VQA = {
    **{"name": "VQA", "type": "VL-classifier", "loss": "BCEWithLogitLoss", "task_id": 1, "dataroot": "datasets/VQA/"},
    **{"features_h5path1": "coco.lmdb", "features_h5path2": "", "max_region_num": 101, "batch_size": 96},
    **{"train_split": "trainval", "val_split": "minval", "lr": 0.00006, "num_epoch": 20},
}
VCR = {
    **{"name": "VCR_QA-R", "type": "VL-logit", "loss": "CrossEntropyLoss", "task_id": 6, "dataroot": "datasets/VCR"},
    **{"features_h5path1": "vcr.lmdb", "features_h5path2": "vcr_gt.lmdb", "batch_size": 64, "lr": 0.00003},
    **{"train_annotations_jsonpath": "datasets/VCR/train.jsonl", "val_split": "val", "num_epoch": 5},
}


@pytest.fixture
def tasks_file(tmp_path):
    def write(**entries):
        path = tmp_path / "vilbert_tasks.yml"
        path.write_text(json.dumps({"TASK1": VQA, "TASK6": VCR, "TASK10": REFER, **entries}), encoding="utf-8")
        return path

    return write


def settings(path, wanted):
    (entry,) = read_tasks(path, wanted)
    return load_config(TASKS[entry.kind.task].config_class, entry.recipe, entry.overrides())


def test_every_field_reaches_its_setting(tasks_file):
    config = settings(tasks_file(), "10")
    assert (config.refer.root, config.refer.dataset) == ("datasets/refcoco", "refcoco+")
    assert config.regions.path == "datasets/refcoco/detected.lmdb"
    assert config.annotated_regions.path == "datasets/refcoco/gt.lmdb"
    assert (config.max_text, config.regions.max_regions) == (21, 90)
    assert (config.train.batch_size, config.train.eval_batch_size, config.train.epochs) == (192, 1024, 17)
    assert config.train.optimizer.lr == 0.00003
    assert (config.eval_split, config.train.eval_split) == ("testA", "testA")
    assert (config.task_number, config.model.fusion) == (10, "sum")


def test_minival_is_not_trained_on(tasks_file, world, tmp_path, capfd, monkeypatch):
    """trainval and minval part the validation questions by their ids."""
    config = settings(tasks_file(), "TASK1")
    assert [part.without_last for part in config.vqa.splits["train"]] == [0, 3000]
    assert [part.only_last for part in config.vqa.splits["val"]] == [3000]
    root = world / "VQA2"
    for file in (root / "annotations").glob("v2_*2014_*.json"):
        (tmp_path / "VQA").mkdir(exist_ok=True)
        (tmp_path / "VQA" / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("vilbert_paddle.originals.MINIVAL", 8)
    path = tasks_file(TASK1={**VQA, "dataroot": str(tmp_path / "VQA")})
    own = [Override("vqa.answers", str(root / "extras/vocabs/answers_vqa.txt"), "test")]
    own += [Override("tokenizer", str(world / "vocab.txt"), "test"), Override("model.region_dim", 32, "test")]
    own += [Override("model.vocab_size", 0, "test"), Override("regions.path", f"{world}/lmdb/coco_array.lmdb", "test")]
    entry = read_tasks(path, "1")[0]
    task = VQATask(load_config(TASKS["vqa"].config_class, entry.recipe, (*entry.overrides(), *own)), model=object())
    asked = {split: task.records(split).column("question_id") for split in ("train", "val")}
    assert len(asked["val"]) == 8
    assert not set(asked["val"]) & set(asked["train"])
    assert max(asked["train"][np.isin(asked["train"], _ids(root, "val"))]) < min(asked["val"])
    assert len(asked["train"]) + 8 == len(_ids(root, "train")) + len(_ids(root, "val"))
    assert "warning" not in capfd.readouterr().err


def _ids(root, split):
    path = root / f"annotations/v2_OpenEnded_mscoco_{split}2014_questions.json"
    return [question["question_id"] for question in json.loads(path.read_text())["questions"]]


def test_shared_questions_are_told(build, yaml_of, capfd):
    task = build(VQATask, "vqa")
    splits = task.config.vqa.splits
    shared = {**splits, "train": [*splits["train"], *splits["val"]]}
    task = VQATask(replace(task.config, vqa=replace(task.config.vqa, splits=shared)))
    task.records("train"), task.records("val")
    assert "questions of split 'val' are also in the split 'train'" in capfd.readouterr().err


REFER_COMMAND, VQA_COMMAND = (
    next(command for command in COMMANDS.commands if command.script == script)
    for script in ("run_refer.py", "run_vqa.py")
)


def test_the_command_line_stands_over_the_file(tasks_file):
    recipe = CONFIGS / "refcoco+.yaml"
    other = {**REFER, "name": "refcocog", "task_id": 11}
    extra = {"tasks_file": str(tasks_file(TASK11=other)), "tasks": "11"}
    typed = Override("train.batch_size", 8, "--batch_size")
    run = with_task_file(Run(recipe, (typed,), extra=extra), REFER_COMMAND)
    assert run.config_path == CONFIGS / "refcocog.yaml"
    config = run.load(ReferTask.config_class)
    assert (config.train.batch_size, config.refer.dataset) == (8, "refcocog")
    with pytest.raises(InputError, match=r"TASK11: refcocog is for run_refer\.py"):
        with_task_file(Run(recipe, extra=extra), VQA_COMMAND)
    with pytest.raises(InputError, match=r"run_multitask\.py trains several"):
        with_task_file(Run(recipe, extra={**extra, "tasks": "1-10"}), REFER_COMMAND)
    with pytest.raises(InputError, match="give --tasks_file"):
        with_task_file(Run(recipe, extra={"tasks": "10"}), REFER_COMMAND)


def test_several_tasks_share_the_largest_batch_and_the_lowest_rate(tasks_file):
    path = tasks_file()
    entries = read_tasks(path, "1-6-10")
    config = load_config(MultitaskTask.config_class, None, multitask_overrides(path, entries))
    assert {name: (member.share, member.weight) for name, member in config.tasks.items()} == {
        **{"vqa": (2, 2.0), "vcr_qa-r": (3, 1.0), "refcoco+": (1, 1.0)}
    }
    assert (config.train.batch_size, config.train.optimizer.lr, config.train.epochs) == (192, 0.00003, 20)
    assert config.tasks["vqa"].load().regions.path == "coco.lmdb"
    assert config.tasks["vcr_qa-r"].load().vcr.splits["train"] == str(Path("datasets/VCR/train.jsonl").absolute())


def test_captions_in_json_lines(build, world, tmp_path):
    lines = tmp_path / "all_data_final_train_2014.jsonline"
    karpathy = json.loads((world / "karpathy/dataset_flickr30k.json").read_text())["images"]
    entries = [
        {"id": number, "img_path": image["filename"], "sentences": [text["raw"] for text in image["sentences"]]}
        for number, image in enumerate(karpathy)
        if image["split"] == "val"
    ]
    lines.write_text("\n".join(json.dumps(entry) for entry in entries))
    task = build(TASKS["retrieval"], "retrieval")
    own = replace(task.config.retrieval, splits={"val": str(lines)})
    other = TASKS["retrieval"](replace(task.config, retrieval=own))
    assert list(other.records("val").column("image")) == list(task.records("val").column("image"))
    assert [r.captions for r in other.records("val")] == [r.captions for r in task.records("val")]
    with evaluating(other.model):
        other.predict(split_loader(other, other.config.train, "val"), "val").metrics()
    lines.write_text('{"id": 1, "img_path": "1.jpg", "sentences": []}')
    with pytest.raises(InputError, match=r"jsonline: line 1: sentences is \[\]"):
        read_caption_lines(lines)
    lines.write_text("")
    with pytest.raises(InputError, match="no line with captions"):
        read_caption_lines(lines)


@pytest.mark.parametrize("name", KINDS)
def test_every_task_of_the_original_has_its_recipe(name):
    kind = KINDS[name]
    config = load_config(TASKS[kind.task].config_class, CONFIGS / kind.recipe)
    usual = TASKS[kind.task].task_number or config.task_number
    assert config.regions.max_regions == 100
    assert usual or kind.task in ("refer", "vcr")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"max_seq_lenght": 20},
            "TASK10: no task file has the field 'max_seq_lenght': did you mean \"max_seq_length\"",
        ),
        ({"loss": "CrossEntropyLoss"}, "TASK10: loss of refcoco\\+ is 'CrossEntropyLoss', expected 'BCEWithLogitLoss'"),
        ({"name": "Visual7w"}, "TASK10: name is 'Visual7w', which is no task here: known: NLVR2"),
        ({"name": "refcoc"}, 'did you mean "refcoco"'),
        ({"name": ["a"]}, r"TASK10: name is \['a'\]"),
        ({"val_split": ["a"]}, r"TASK10: val_split of refcoco\+ is \['a'\]"),
        ({"lr": "fast"}, "lr"),
        ({"val_split": "valid"}, r"TASK10: val_split of refcoco\+ is 'valid', expected val, test"),
        ({"train_split": "trainval"}, "TASK10: train_split of refcoco\\+ is 'trainval', expected 'train'"),
        ({"max_region_num": "many"}, "TASK10: max_region_num of refcoco\\+ is 'many', expected a number above 0"),
        ({"train_annotations_jsonpath": "a.json"}, "train_annotations_jsonpath of refcoco\\+ is 'a.json', expected ''"),
        ({"start_iteration": 100}, "start_iteration of refcoco\\+ is 100, expected 0"),
    ],
)
def test_entries_that_are_wrong(tasks_file, change, message):
    with pytest.raises(InputError, match=message):
        settings(tasks_file(TASK10={**REFER, **change}), "10")


def test_files_that_are_wrong(tasks_file, tmp_path):
    path = tasks_file()
    for wanted in ("7", "", "1-1"):  # not in the file, none, one twice
        with pytest.raises(InputError, match=rf"--tasks '{wanted}': .*TASK1 \(VQA\), TASK6 \(VCR_QA-R\), TASK10"):
            read_tasks(path, wanted)
    assert [entry.key for entry in read_tasks(path, "task1-TASK10")] == ["TASK1", "TASK10"]
    with pytest.raises(InputError, match="nowhere.yml: cannot be read"):
        read_tasks(tmp_path / "nowhere.yml", "1")
    (tmp_path / "list.yml").write_text("- 1")
    with pytest.raises(InputError, match="expected entries TASK1"):
        read_tasks(tmp_path / "list.yml", "1")
    with pytest.raises(InputError, match="TASK6: batch_size of VCR_QA-R is 64, expected a divisor of the largest, 100"):
        multitask_overrides(path, read_tasks(tasks_file(TASK1={**VQA, "batch_size": 100}), "1-6"))
    with pytest.raises(InputError, match="TASK12: features_h5path2 of NLVR2 is 'gt.lmdb'"):
        settings(tasks_file(TASK12={"name": "NLVR2", "features_h5path2": "gt.lmdb"}), "12")
