"""Every task trains and evaluates on a drawn world, and resumes where it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from albef_paddle.tasks.base import AlbefRunConfig, with_decay
from albef_paddle.tasks.entailment import AlbefEntailment, AlbefEntailmentConfig
from albef_paddle.tasks.grounding import AlbefGrounding, AlbefGroundingConfig
from albef_paddle.tasks.nlvr2 import AlbefNLVR2, AlbefTextAssignment
from albef_paddle.tasks.pretraining import AlbefPretraining, AlbefPretrainingConfig
from albef_paddle.tasks.retrieval import AlbefRetrieval, AlbefRetrievalConfig
from albef_paddle.tasks.vqa import AlbefVQA, AlbefVQAConfig
from pyutils.config import load_config
from pyutils.data.records import WeightedVQARecord
from pyutils.data.vqa.results import SplitAnswers
from pyutils.engine.determinism import seed_initial
from pyutils.engine.evaluation import evaluating
from pyutils.engine.run import out_of_memory
from pyutils.engine.trainer import Trainer
from pyutils.errors import InputError

# task: (class, configuration, images, lists, expected metrics)
TASKS = {
    "retrieval": (
        AlbefRetrieval,
        AlbefRetrievalConfig,
        "flickr30k",
        "flickr30k_{}.json",
        {"txt_r1", "img_r10", "r_mean"},
    ),
    "vqa": (AlbefVQA, AlbefVQAConfig, "coco", "vqa_{}.json", {"accuracy"}),
    "ve": (AlbefEntailment, AlbefEntailmentConfig, "flickr30k", "ve_{}.json", {"accuracy", "accuracy/neutral"}),
    "nlvr": (AlbefNLVR2, AlbefRunConfig, "nlvr2", "nlvr_{}.json", {"accuracy", "consistency"}),
    "nlvr_pretrain": (AlbefTextAssignment, AlbefRunConfig, "coco", "coco_pretrain.json", {"loss", "neg_loss"}),
    "pretrain": (AlbefPretraining, AlbefPretrainingConfig, "coco", "coco_pretrain.json", {"mlm", "itc", "itm"}),
    "grounding": (
        AlbefGrounding,
        AlbefGroundingConfig,
        "coco",
        "refcoco+_{}.json",
        {"accuracy", "pointing", "accuracy/val"},
    ),
}
HELD_OUT = {"ve": "dev", "nlvr": "dev", "grounding": "test"}


@pytest.fixture
def build(world, write_yaml):
    """Makes the tiny task `name`; overrides follow."""

    def make(name: str, *overrides: str, **entries):
        kind, config_class, images, lists, _ = TASKS[name]
        splits = world.lists(train=lists.format("train"), val=lists.format(HELD_OUT.get(name, "val")))
        if name == "vqa":
            entries["answer_list"] = str(world.data / "albef" / "answer_list.json")
        if name == "grounding":
            entries |= {"detections": str(world.data / "albef" / "refcoco+" / "dets.json"), "block_num": 2}
        path = write_yaml(images, splits, **entries)
        seed_initial(0)
        return kind(with_decay(load_config(config_class, path, overrides)))

    return make


@pytest.mark.parametrize("name", TASKS)
def test_a_task_trains_and_evaluates(build, tmp_path, name):
    task = build(name)
    metrics = Trainer(task, task.config.train, tmp_path / "run").run()
    assert TASKS[name][-1] <= set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())
    saved = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert saved["last"]["step"] == 2
    assert (tmp_path / "run" / "last" / "vocab.txt").is_file()


def test_a_resumed_run_equals_an_uninterrupted_one(build, tmp_path):
    steady = ("train.schedule.name=constant", "train.schedule.warmup=0")
    whole = build("retrieval", "train.max_steps=4", *steady)
    Trainer(whole, whole.config.train, tmp_path / "whole").run()
    part = build("retrieval", "train.max_steps=2", *steady)
    Trainer(part, part.config.train, tmp_path / "part").run()
    rest = build("retrieval", "train.max_steps=4", *steady)
    Trainer(rest, rest.config.train, tmp_path / "part").run("auto")
    for name, tensor in whole.model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), rest.model.state_dict()[name].numpy(), err_msg=name)


def test_the_teachers_weight_rises_over_the_first_epoch(build):
    task = build("ve", "train.max_steps=0")
    assert task.steps_per_epoch == 23
    assert task.alpha == 0.0
    task.after_step(11)
    assert task.alpha == pytest.approx(0.4 * 11 / 23)
    task.after_step(30)
    assert task.alpha == 0.4
    assert build("ve", "alpha_warmup=false").alpha == 0.4


def test_accumulation_moves_the_teacher_once_a_step(build):
    task = build("ve")
    moved = []
    task.model.teacher.update = lambda model: moved.append(model)
    batch = task.tensors(task.collate([task.train_records()[n] for n in range(4)], np.random.default_rng(0), True))
    task.loss(batch)
    task.loss(batch)
    task.after_step(1)
    task.loss(batch)
    assert len(moved) == 2


def test_answers_weigh_their_share(build):
    task = build("vqa")
    record = task.train_records()[0]
    arrays = task.answer_arrays([record])
    assert arrays["answer_weights"].sum() == pytest.approx(1.0)
    assert arrays["answer_ids"][0, 0] == task.tokenizer.cls
    assert arrays["answer_ids"][0][arrays["answer_mask"][0].sum() - 1] == task.tokenizer.sep


def test_accuracy_is_that_of_the_human_answers():
    agreed = WeightedVQARecord(1, "a", "?", ("yes",) * 2 + ("no",) * 8)
    answers = SplitAnswers([agreed, WeightedVQARecord(2, "a", "?", ("red",))], np.array([0, 1]), ("yes", "red"))
    assert answers.metrics() == {"accuracy": 80.0}  # 2 / 3 but for the two who gave it, 1 / 3; and 1


def test_unlabelled_records_are_refused_before_training(build, world, tmp_path):
    for name, field in (("vqa", "answer"), ("nlvr", "label")):
        task = build(name, "data.check_images=false")
        entries = json.loads(Path(task.config.data.splits["train"][0]).read_text())
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps([*entries, {key: value for key, value in entries[0].items() if key != field}]))
        task.before_training()
        with pytest.raises(InputError, match="'train'.*without labels"):
            build(name, f"data.splits.train=[{file}]").before_training()


def test_an_answer_list_of_other_data_is_refused_before_training(build, tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps(["thing0", "thing1"]))
    with pytest.raises(InputError, match=r"answers\.json.*'train'"):
        build("vqa", f"answer_list={tmp_path / 'answers.json'}").before_training()


@pytest.mark.parametrize(("without", "message"), [("box", '"box"'), ("image_id", '"image_id"')])
def test_a_grounding_list_that_cannot_be_evaluated_is_refused_before_training(build, tmp_path, without, message):
    files = build("grounding").config.data.splits["val"]
    entries = json.loads(Path(files[0]).read_text())
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps([*entries[:3], {key: value for key, value in entries[3].items() if key != without}]))
    detections = tmp_path / "dets.json"
    detections.write_text(json.dumps({entry["image_id"]: [[0, 0, 9, 9]] for entry in entries}))
    task = build("grounding", f"data.splits.val=[{bad}]", f"detections={detections}")
    with pytest.raises(InputError, match=rf"bad\.json: expression {entries[3]['ref_id']}.*{message}"):
        Trainer(task, task.config.train, tmp_path / "run").run()
    assert not (tmp_path / "run").exists()


def test_the_report_stands_before_the_first_step(build, tmp_path, capsys):
    task = build("vqa")
    Trainer(task, task.config.train, tmp_path / "run").run()
    said = "".join(capsys.readouterr())
    for text in ("split 'train': 0.0% of the word pieces", "questions have a human answer", "distinct images"):
        assert 0 <= said.index(text) < said.index("step 2/2")


def test_the_server_file_has_every_question(build, tmp_path):
    task = build("vqa")
    Trainer(task, task.config.train, tmp_path).evaluate("val")
    answers = json.loads((tmp_path / "val/result.json").read_text())
    assert {entry["question_id"] for entry in answers} == {record.question_id for record in task.records("val")}
    assert all(entry["answer"] in task.answers for entry in answers)


def test_captions_are_cut_as_the_original_cuts_them(build):
    task = build("retrieval")
    words = " ".join(["square"] * 50)
    assert len(task.caption(words)) == 31  # [CLS] and 30 words; training does not cut tokens
    assert len(task.caption(words, 30)) == 30
    assert task.caption("!") == [task.tokenizer.cls]


@pytest.mark.parametrize(("name", "least"), [("retrieval", 2), ("grounding", 2), ("pretrain", 2), ("nlvr_pretrain", 3)])
def test_a_batch_without_wrong_pairs_is_refused_before_training(build, name, least):
    small = f"train.batch_size={least - 1}"
    message = f"train.batch_size: expected at least {least} .*found {least - 1}$"
    with pytest.raises(InputError, match=message):
        build(name, small, "train.eval_batch_size=8").before_training()
    build(name, f"train.batch_size={least}").before_training()


@pytest.mark.parametrize(
    ("name", "records", "eval_batch_size"), [("pretrain", 1, 8), ("nlvr_pretrain", 2, 8), ("nlvr_pretrain", 9, 2)]
)
def test_a_held_out_split_that_measures_nothing_is_refused(build, tmp_path, name, records, eval_batch_size):
    held_out = tmp_path / "held_out.json"
    held_out.write_text(json.dumps(json.loads(Path(build(name).config.data.splits["val"][0]).read_text())[:records]))
    settings = (f"data.splits.val=[{held_out}]", f"train.eval_batch_size={eval_batch_size}")
    task = build(name, *settings)
    with pytest.raises(InputError, match=f"split 'val': nothing can be measured on its {records} records"):
        task.before_training()
    with pytest.raises(InputError, match="split 'val': nothing can be measured"):
        Trainer(task, task.config.train, tmp_path / "run").evaluate("val")
    build(name, *settings, "train.eval_split=").before_training()


def test_a_queue_that_the_batch_does_not_divide_wraps_round(build, tmp_path):
    task = build("retrieval", "model.queue_size=12", "train.batch_size=8")
    Trainer(task, task.config.train, tmp_path / "run").run()
    assert task.model.queue.pointer.item() == 16 % 12
    assert (task.model.queue.identities.numpy() >= 0).all()


def test_a_damaged_image_is_named(build, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps([{"image": "broken.jpg", "sentence": "a star", "label": "neutral"}] * 8))
    task = build("ve", f"data.images=[{tmp_path}]", f"data.splits={{train: [{bad}], val: [{bad}]}}")
    with pytest.raises(InputError, match="broken.jpg.*(no image|damaged)"):
        Trainer(task, task.config.train, tmp_path / "run").run()


@pytest.mark.parametrize(("name", "split"), [("ve", "train"), ("nlvr", "val")])
def test_missing_images_are_named_before_training(build, tmp_path, name, split):
    task = build(name)
    files = task.config.data.splits
    entries = json.loads(Path(files[split][0]).read_text())
    fields = {"images": ["dev/here.png", "gone/away.png"]} if name == "nlvr" else {"image": "gone/away.png"}
    mixed = tmp_path / "mixed.json"
    mixed.write_text(json.dumps([*entries, {**entries[0], **fields}]))
    splits = f"data.splits.{split}=[{mixed}]"
    with pytest.raises(InputError, match=f"split '{split}': . of .* not below data.images .*gone/away.png") as caught:
        build(name, splits).before_training()
    assert "data.check_images: false" in str(caught.value)
    for setting in ("data.check_images=false", "image_input=withheld"):
        build(name, splits, setting).before_training()


def test_a_label_outside_the_set_is_named(build, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps([{"image": "a.jpg", "sentence": "a star", "label": "neutrall"}]))
    with pytest.raises(InputError, match=r"bad\.json: entry 0: unknown label 'neutrall': did you mean .neutral"):
        build("ve", f"data.splits.train=[{bad}]").train_records()


def test_an_empty_caption_is_named(build, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps([{"image": "a.jpg", "caption": " ", "image_id": 1}]))
    with pytest.raises(InputError, match=r"bad\.json: entry 0"):
        build("retrieval", f"data.splits.train=[{bad}]").train_records()


def test_an_unknown_split_names_the_known_ones(build):
    with pytest.raises(InputError, match="data.splits.*'tests'"):
        build("ve").eval_records("tests")


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("ve", "alpha=3", "alpha: expected at most 1, found 3"),
        ("ve", "alpha=-0.1", "alpha: expected at least 0"),
        ("ve", "max_words=0", "max_words: expected at least 1, found 0"),
        ("pretrain", "mlm_probability=1.5", "mlm_probability: expected 0 or more and less than 1, found 1.5"),
        ("pretrain", "mlm_probability=0", "mlm_probability: expected more than 0"),
        ("retrieval", "max_tokens=0", "max_tokens: expected at least 2, found 0"),
        ("retrieval", "k_test=-1", "k_test: expected at least 0, found -1"),
        ("vqa", "max_tokens=1", "max_tokens: expected at least 2, found 1"),
    ],
)
def test_invalid_settings_are_refused(build, name, setting, message):
    with pytest.raises(InputError, match=message):
        build(name, setting)


def test_a_loss_that_is_not_finite_stops_with_step_and_losses(build, tmp_path):
    task = build("retrieval")
    task.model.temperature.set_value(np.array("nan", dtype=np.float32))
    with pytest.raises(InputError, match=r"step 1: .*itc nan"):
        Trainer(task, task.config.train, tmp_path / "run").run()


def test_the_out_of_memory_message_names_the_settings(build):
    said = out_of_memory(build("ve").config)
    for name in ("model.vision.image_size", "train.batch_size (8", "train.accumulation_steps (1)", "train.recompute"):
        assert name in said


def test_decay_presets(build):
    spared = build("ve").config.train.optimizer.no_decay
    assert any("temperature" in pattern for pattern in spared)
    assert not any(
        "temperature" in pattern for pattern in build("ve", "decay=original").config.train.optimizer.no_decay
    )
    assert build("ve", "train.optimizer.no_decay=[x]").config.train.optimizer.no_decay == ["x"]


def test_evaluating_grounding_leaves_no_gradient(build):
    task = build("grounding")
    records = [task.records("val")[n] for n in range(3)]
    batch = task.tensors(task.collate(records, np.random.default_rng(0), False))
    with evaluating(task.model):
        maps = task.maps(batch)
    assert maps.shape == (3, 4, 4)
    assert maps.max() > 0
    assert all(parameter.grad is None for parameter in task.model.parameters())
    assert not task.model.temperature.stop_gradient
    assert {record.split for record in task.records("val")} == {"val"}


def test_blind_runs_see_no_image(build):
    batches = []
    for blind in ("true", "false"):  # the earlier spelling
        task = build("ve", f"data.blind={blind}")
        batches.append(task.collate([task.train_records()[n] for n in range(3)], np.random.default_rng(0), True))
    assert not batches[0]["images"].any()
    assert batches[1]["images"].any()
    np.testing.assert_array_equal(batches[0]["labels"], batches[1]["labels"])
