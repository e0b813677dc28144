"""Configuration files of the original and of TorchMultimodal's example load too."""

from __future__ import annotations

import json

import pytest
import yaml

import pyutils.engine.run as run_module
from albef_paddle.commands import COMMANDS, CONFIGS
from albef_paddle.tasks.base import AlbefRunConfig
from albef_paddle.tasks.entailment import AlbefEntailmentConfig
from albef_paddle.tasks.grounding import AlbefGroundingConfig
from albef_paddle.tasks.pretraining import AlbefPretrainingConfig
from albef_paddle.tasks.retrieval import AlbefRetrievalConfig
from albef_paddle.tasks.vqa import AlbefVQAConfig
from pyutils.config import Override, load_config
from pyutils.config.command_line import Run
from pyutils.engine.commands import Command
from pyutils.errors import InputError

CLASSES = {
    "vqa": AlbefVQAConfig,
    "easy_vqa": AlbefVQAConfig,
    "easy_vqa_pretrain": AlbefPretrainingConfig,
    "ve": AlbefEntailmentConfig,
    "hateful_memes": AlbefEntailmentConfig,
    **dict.fromkeys(("gqa", "okvqa", "vizwiz"), AlbefVQAConfig),
    "nlvr": AlbefRunConfig,
    "nlvr_pretrain": AlbefRunConfig,
    "pretrain": AlbefPretrainingConfig,
    "grounding": AlbefGroundingConfig,
    "grounding_refcoco": AlbefGroundingConfig,
    "grounding_refcocog": AlbefGroundingConfig,
    "retrieval": AlbefRetrievalConfig,
    "retrieval_flickr": AlbefRetrievalConfig,
    "retrieval_coco": AlbefRetrievalConfig,
    "zero_shot_flickr": AlbefRetrievalConfig,
    "zero_shot_coco": AlbefRetrievalConfig,
}
ORIGINAL = {
    "train_file": ["data/flickr30k_train.json"],
    "val_file": "data/flickr30k_val.json",
    "test_file": "data/flickr30k_test.json",
    "image_root": "/images",
    "bert_config": "configs/config_bert.json",
    "image_res": 384,
    "batch_size_train": 16,
    "batch_size_test": 48,
    "queue_size": 4096,
    "momentum": 0.99,
    "vision_width": 768,
    "embed_dim": 128,
    "temp": 0.05,
    "k_test": 100,
    "alpha": 0.3,
    "distill": True,
    "warm_up": False,
    "optimizer": {"opt": "adamW", "lr": 2e-5, "weight_decay": 0.03},
    "schedular": {
        "sched": "cosine",
        "lr": 2e-5,
        "epochs": 7,
        "min_lr": 1e-7,
        "decay_rate": 1,
        "warmup_lr": 1e-6,
        "warmup_epochs": 2,
        "cooldown_epochs": 0,
    },
}
TORCHMULTIMODAL = {
    "hidden_size": 64,
    "k_test": 32,
    "checkpoint_root": "./checkpoints",
    "pretrained_checkpoint": "albef.pth",
    "output_path": "./outputs/retrieval.pth",
    "datamodule_args": {
        "train_files": ["train.json"],
        "test_files": ["test.json"],
        "image_root": "./coco",
        "batch_size": 8,
        "num_workers": 3,
    },
    "vision_encoder_args": {
        "hidden_size": 64,
        "image_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "mlp_dim": 128,
    },
    "text_encoder_args": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 900},
    "multimodal_encoder_args": {"hidden_size": 64, "num_hidden_layers": 3},
    "projection_args": {"in_features": 64, "out_features": 32},
    "similarity_args": {"embed_size": 32, "queue_size": 512, "temp": 0.07},
    "training_args": {"alpha": 0.4, "lr": 1e-5, "min_lr": 1e-6, "max_epochs": 5, "step_size": 50, "warmup_steps": 1},
}


def configured(path, config_class, recipe, overrides=()):
    """The configuration of the script whose recipe is `recipe`."""
    command = next((c for c in COMMANDS.commands if c.recipe == recipe), None) or Command("", recipe)
    return COMMANDS.configure(Run(path, tuple(overrides)), command, config_class)


@pytest.fixture
def load(tmp_path):
    """Writes a tree as YAML and loads it over the default recipe."""

    def read(tree: dict, config_class=AlbefRetrievalConfig, default="retrieval_flickr", overrides=()):
        path = tmp_path / "theirs.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return configured(path, config_class, f"{default}.yaml", overrides)

    return read


def test_checkpoints_of_torchmultimodal_go_to_their_root(load):
    training = {**TORCHMULTIMODAL["training_args"], "checkpoint_root": "./saved"}
    tree = {**TORCHMULTIMODAL, "training_args": training, "output_root": "./results"}
    assert load(tree).output_dir == "./saved"
    del tree["output_path"], training["checkpoint_root"]
    assert load(tree).output_dir == "./results"
    assert load(tree, overrides=[Override("output_dir", "typed", "--output_dir")]).output_dir == "typed"


@pytest.mark.parametrize(
    "device, typed, chosen", [("cpu", {}, "cpu"), ("cuda", {"device": "cpu"}, None), ("cuda:1", {}, "cuda")]
)
def test_the_device_of_a_file_counts_unless_one_is_typed(tmp_path, monkeypatch, device, typed, chosen):
    asked = []
    monkeypatch.setattr(run_module, "choose_device", lambda run: asked.append(run.extra["device"]))
    path = tmp_path / "theirs.yaml"
    path.write_text(yaml.safe_dump({**TORCHMULTIMODAL, "device": device}))
    command = next(command for command in COMMANDS.commands if command.recipe == "retrieval_flickr.yaml")
    COMMANDS.configure(Run(path, extra=typed), command, AlbefRetrievalConfig)
    assert asked == ([] if chosen is None else [chosen])


def test_an_unknown_device_is_named(load):
    with pytest.raises(InputError, match="theirs.yaml: device.*'tpu'"):
        load({**TORCHMULTIMODAL, "device": "tpu"})


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.parent.name + path.stem)
def test_every_recipe_loads(path):
    config = load_config(CLASSES.get(path.stem, AlbefRunConfig), path)
    assert config.tokenizer


@pytest.mark.parametrize(
    ("name", "checkpoint", "pixels", "k_test"),
    [("zero_shot_flickr", "mscoco.pth", 384, 128), ("zero_shot_coco", "ALBEF.pth", 256, 256)],
)
def test_zero_shot_names_checkpoint_and_resolution(name, checkpoint, pixels, k_test):
    config = load_config(AlbefRetrievalConfig, CONFIGS / f"{name}.yaml")
    assert (config.init, config.model.vision.image_size) == (f"pretrained/{checkpoint}", pixels)
    assert (config.eval_split, config.k_test) == ("test", k_test)


def test_the_originals_file_loads(load):
    config = load(ORIGINAL)
    assert config.data.splits["train"] == ["data/flickr30k_train.json"]
    assert config.data.splits["test"] == ["data/flickr30k_test.json"]
    assert config.data.images == ["/images"]
    assert (config.model.vision.image_size, config.model.queue_size, config.model.momentum) == (384, 4096, 0.99)
    assert (config.model.embed_dim, config.model.temperature, config.k_test) == (128, 0.05, 100)
    assert (config.alpha, config.alpha_warmup, config.model.distill) == (0.3, False, True)
    train = config.train
    assert (train.batch_size, train.eval_batch_size, train.epochs) == (16, 48, 7)
    assert (train.optimizer.name, train.optimizer.lr, train.optimizer.weight_decay) == ("adamw", 2e-5, 0.03)
    assert train.schedule.name == "albef_cosine"
    assert (train.schedule.albef.min_lr, train.schedule.albef.warmup_epochs) == (1e-7, 2)


@pytest.mark.parametrize(
    ("config_class", "keys", "splits", "while_training", "evaluated"),
    [
        (AlbefRetrievalConfig, {"train_file": "a.json", "test_file": "b.json"}, {"train", "test"}, "test", "test"),
        (AlbefRetrievalConfig, {"train_file": "a.json"}, {"train"}, "", "test"),
        (
            AlbefVQAConfig,
            {"train_file": ["a.json"], "test_file": ["b.json"], "answer_list": "answers.json"},
            {"train", "test"},
            "",
            "test",
        ),
    ],
)
def test_lists_of_the_file_replace_all_of_the_recipe(tmp_path, config_class, keys, splits, while_training, evaluated):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"image_res": 384, **keys}), encoding="utf-8")
    default = "vqa.yaml" if config_class is AlbefVQAConfig else "retrieval_flickr.yaml"
    config = configured(path, config_class, default)
    assert {name for name, files in config.data.splits.items() if files} == splits
    assert (config.train.eval_split, config.eval_split) == (while_training, evaluated)


def test_the_command_line_comes_last(load):
    config = load(ORIGINAL, overrides=[Override("k_test", 9, "--k_test"), Override("train.epochs", 1, "--set")])
    assert (config.k_test, config.train.epochs) == (9, 1)


def test_bert_config_gives_the_sizes(load, tmp_path):
    sizes = {"hidden_size": 48, "num_hidden_layers": 5, "fusion_layer": 2, "architectures": ["x"]}
    (tmp_path / "bert.json").write_text(json.dumps(sizes))
    text = load({**ORIGINAL, "bert_config": "bert.json"}).model.text
    assert (text.hidden_size, text.num_layers, text.fusion_layer) == (48, 5, 2)


def test_torchmultimodals_file_loads(load):
    config = load(TORCHMULTIMODAL)
    assert config.init == "checkpoints/albef.pth"
    assert config.output_dir == "outputs"
    assert config.data.splits["test"] == ["test.json"]
    assert (config.model.vision.width, config.model.vision.mlp_ratio, config.model.vision.depth) == (64, 2.0, 3)
    assert (config.model.text.num_layers, config.model.text.fusion_layer) == (5, 2)
    assert (config.k_test, config.train.batch_size, config.train.workers) == (32, 8, 3)
    assert config.train.schedule.albef.warmup_block == 50


def test_both_image_roots_are_searched(load):
    tree = {"train_file": ["a.json"], "vqa_root": "/coco", "vg_root": "/vg", "answer_list": "l.json", "eos": "[SEP]"}
    config = load(tree, AlbefVQAConfig, "vqa")
    assert config.data.images == ["/coco", "/vg"]
    assert config.answer_list == "l.json"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"image_size": 3}, "theirs.yaml: unknown key 'image_size'"),
        ({"schedular": {"epoch": 3}}, "unknown key 'schedular.epoch': did you mean"),
        ({"optimizer": "adamW"}, "optimizer: expected a mapping, found str"),
        ({"eos": "."}, "eos: expected"),
        ({"mlm_probability": 0.1}, "AlbefRetrievalConfig has no mlm_probability"),
    ],
)
def test_unsupported_entries_are_named(load, extra, message):
    with pytest.raises(InputError, match=message):
        load({**ORIGINAL, **extra})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model.vision.image_size=100",), r"model\.vision\.image_size: expected a multiple of patch_size \(16\)"),
        (("model.text.hidden_size=100",), r"model\.text\.hidden_size: expected a multiple of num_heads \(12\)"),
        (("model.text.fusion_layer=12",), r"model\.text\.fusion_layer: expected 0 or more and less than num_layers"),
        (("model.vision.drop_path=1.5",), r"model\.vision\.drop_path: expected 0 or more and less than 1"),
    ],
)
def test_invalid_sizes_are_named(load, overrides, message):
    with pytest.raises(InputError, match=message):
        load({}, overrides=overrides)
