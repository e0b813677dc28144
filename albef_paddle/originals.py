"""Configuration files of the original (`image_res`, `optimizer:`, `schedular:`) and of TorchMultimodal's example
(`datamodule_args`, `training_args`) as entries of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pyutils.config import Override, describe
from pyutils.errors import InputError, nearest
from pyutils.formats.yaml_text import parse_yaml

Entries = dict[str, Any]
Rule = Callable[[Any], Entries]

_SPLITS = "data.splits."
_MARKS = ("image_res", "schedular", "train_file", "test_file", "datamodule_args", "training_args")


def _to(key: str) -> Rule:
    return lambda value: {key: value}


def _files(split: str) -> Rule:
    return lambda value: {f"{_SPLITS}{split}": [value] if isinstance(value, str) else list(value)}


def _roots(value: Any) -> Entries:
    return {"data.images": [value] if isinstance(value, str) else list(value)}


def _nothing(value: Any) -> Entries:
    return {}


def _end_of_answer(value: Any) -> Entries:
    if value != "[SEP]":
        raise InputError(f'expected "[SEP]", the mark that ends an answer, found {value!r}')
    return {}


# bert_config and TorchMultimodal's text_encoder_args
_BERT = {
    "vocab_size": _to("model.text.vocab_size"),
    "hidden_size": _to("model.text.hidden_size"),
    "num_hidden_layers": _to("model.text.num_layers"),
    "fusion_layer": _to("model.text.fusion_layer"),
    "num_attention_heads": _to("model.text.num_heads"),
    "intermediate_size": _to("model.text.intermediate_size"),
    "hidden_act": _to("model.text.hidden_act"),
    "hidden_dropout_prob": _to("model.text.hidden_dropout"),
    "attention_probs_dropout_prob": _to("model.text.attention_dropout"),
    "max_position_embeddings": _to("model.text.max_positions"),
    "type_vocab_size": _to("model.text.token_types"),
    "layer_norm_eps": _to("model.text.layer_norm_eps"),
    "encoder_width": _to("model.vision.width"),
}

_OPTIMIZER = {
    "opt": lambda value: {"train.optimizer.name": str(value).lower()},
    "lr": _to("train.optimizer.lr"),
    "weight_decay": _to("train.optimizer.weight_decay"),
    "opt_eps": _to("train.optimizer.eps"),
    "opt_betas": _to("train.optimizer.betas"),
    "momentum": _to("train.optimizer.momentum"),
    "opt_args": _to("train.optimizer.options"),
}

_SCHEDULE = {
    "sched": lambda value: {"train.schedule.name": f"albef_{value}"},
    "lr": _nothing,  # the schedule starts from the optimizer's
    "epochs": lambda value: {"train.epochs": value},
    "lr_noise": lambda value: {"train.schedule.albef.noise": value if isinstance(value, list) else [value]},
    "lr_noise_pct": _to("train.schedule.albef.noise_pct"),
    "lr_noise_std": _nothing,  # read and not used by the original
    "lr_cycle_mul": _to("train.schedule.albef.cycle_mul"),
    "lr_cycle_limit": _to("train.schedule.albef.cycle_limit"),
    "seed": _to("train.schedule.albef.noise_seed"),
    **{
        name: _to(f"train.schedule.albef.{name}")
        for name in (
            "min_lr",
            "warmup_lr",
            "warmup_epochs",
            "cooldown_epochs",
            "decay_rate",
            "decay_epochs",
            "patience_epochs",
        )
    },
}

_IMAGE = {
    "hidden_size": _to("model.vision.width"),
    "image_size": _to("model.vision.image_size"),
    "patch_size": _to("model.vision.patch_size"),
    "num_hidden_layers": _to("model.vision.depth"),
    "num_attention_heads": _to("model.vision.num_heads"),
    "mlp_dim": _nothing,  # needs the width: see _mlp_ratio
    "dropout": _to("model.vision.dropout"),
    "attention_dropout": _to("model.vision.attention_dropout"),
    "layer_norm_eps": _to("model.vision.layer_norm_eps"),
}

_TRAINING = {
    "alpha": _to("alpha"),
    "weight_decay": _to("train.optimizer.weight_decay"),
    "lr": _to("train.optimizer.lr"),
    "min_lr": _to("train.schedule.albef.min_lr"),
    "max_epochs": _to("train.epochs"),
    "step_size": _to("train.schedule.albef.warmup_block"),
    "warmup_steps": _to("train.schedule.albef.warmup_epochs"),
    "log_every_n_steps": _to("train.log_every"),
    "checkpoint_root": _nothing,
}

_DATA = {
    "train_files": _files("train"),
    "val_files": _files("val"),
    "test_files": _files("test"),
    "image_root": _roots,
    "answer_list": _to("answer_list"),
    "vqa_root": _nothing,
    "vg_root": _nothing,
    "batch_size": _to("train.batch_size"),
    "num_workers": _to("train.workers"),
}

_EVALUATION = {"k_test": _to("k_test"), "log_every_n_steps": _nothing}

_PLAIN: dict[str, Rule | Mapping[str, Rule]] = {
    "train_file": _files("train"),
    "val_file": _files("val"),
    "test_file": _files("test"),
    "image_root": _roots,
    "vqa_root": _nothing,
    "vg_root": _nothing,
    "answer_list": _to("answer_list"),
    "refcoco_data": _nothing,
    "coco_file": _nothing,
    "det_file": _to("detections"),
    "bert_config": _nothing,
    "image_res": _to("model.vision.image_size"),
    "vision_width": _to("model.vision.width"),
    "embed_dim": _to("model.embed_dim"),
    "temp": _to("model.temperature"),
    "queue_size": _to("model.queue_size"),
    "momentum": _to("model.momentum"),
    "distill": _to("model.distill"),
    "alpha": _to("alpha"),
    "warm_up": _to("alpha_warmup"),
    "mlm_probability": _to("mlm_probability"),
    "k_test": _to("k_test"),
    "eos": _end_of_answer,
    "batch_size": _to("train.batch_size"),
    "batch_size_train": _to("train.batch_size"),
    "batch_size_test": _to("train.eval_batch_size"),
    "optimizer": _OPTIMIZER,
    "schedular": _SCHEDULE,
    "datamodule_args": _DATA,
    "training_args": _TRAINING,
    "eval_args": _EVALUATION,
    "vision_encoder_args": _IMAGE,
    "text_encoder_args": {**_BERT, "num_hidden_layers": _nothing, "pad_token_id": _nothing},
    "multimodal_encoder_args": dict.fromkeys((*_BERT, "pad_token_id"), _nothing),
    "text_embeddings_args": dict.fromkeys((*_BERT, "pad_token_id"), _nothing),
    "prediction_head_args": dict.fromkeys(_BERT, _nothing),
    "projection_args": {"in_features": _nothing, "out_features": _to("model.embed_dim")},
    "similarity_args": {
        "embed_size": _to("model.embed_dim"),
        "queue_size": _to("model.queue_size"),
        "temp": _to("model.temperature"),
        "momentum": _to("model.momentum"),
    },
    "seed": _to("train.seed"),
    "output_root": _to("output_dir"),
    "output_path": lambda value: {"output_dir": str(Path(value).parent)},
    "checkpoint_root": _nothing,
    "pretrained_checkpoint": _nothing,
    "embed_size": _nothing,
    "pad_token_id": _nothing,
    "device": _nothing,
    "world_size": _nothing,
    "dist_url": _nothing,
    **dict.fromkeys(("hidden_size", "vocab_size", "type_vocab_size", "max_position_embeddings"), _nothing),
}


def is_original(path: Path) -> bool:
    """Whether the YAML file `path` is of the original's or TorchMultimodal's form; False when it is not there."""
    if not path.is_file():
        return False
    tree = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    return isinstance(tree, dict) and any(mark in tree for mark in _MARKS)


def as_overrides(path: Path, config_class: type) -> list[Override]:
    """The entries of such a file as entries of `config_class`.

    InputError naming file and key: one that is not known, with the nearest, one that this task does not have, or a
    value that means something else here.
    """
    tree = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    known, entries = {row.key for row in describe(config_class)}, {}
    for key, found in [*_translated(tree, _PLAIN, str(path), ""), *_combined(tree, path)]:
        for name, value in found.items():
            if not any(name == item or name.startswith(f"{item}.") for item in known):
                raise InputError(f"{path}: {key}: {config_class.__name__} has no {name}; take the key out of the file")
            entries[name] = Override(name, value, f"{path}: {key}")
    return _with_own_splits(entries, "answer_list" in {**tree, **tree.get("datamodule_args", {})})


def _with_own_splits(entries: dict[str, Override], answers_are_asked: bool) -> list[Override]:
    """The entries, and no lists for the splits that a file with lists of its own leaves out: the recipe's are not its.

    A file without validation lists evaluates on its test lists, as the original does; not while it trains where these
    have no answers (VQA).
    """
    origin = next((entry.origin for name, entry in entries.items() if name.startswith(_SPLITS)), None)
    if origin is None:
        return list(entries.values())
    missing = [split for split in ("train", "val", "test") if f"{_SPLITS}{split}" not in entries]
    found = [*entries.values(), *(Override(f"{_SPLITS}{split}", [], origin) for split in missing)]
    if "val" in missing:
        tested = "" if "test" in missing or answers_are_asked else "test"
        found += [Override("train.eval_split", tested, origin), Override("eval_split", "test", origin)]
    return found


def _translated(tree: Mapping, rules: Mapping, where: str, prefix: str) -> Iterator[tuple[str, Entries]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if key not in rules:
            raise InputError(f"{where}: unknown key {name!r}: {nearest(str(key), rules)}")
        rule = rules[key]
        if not isinstance(rule, Mapping):
            try:
                yield name, rule(value)
            except InputError as error:
                raise InputError(f"{where}: {name}: {error}") from error
        elif isinstance(value, Mapping):
            yield from _translated(value, rule, where, f"{name}.")
        else:
            raise InputError(f"{where}: {name}: expected a mapping, found {type(value).__name__}")


def _combined(tree: Mapping, path: Path) -> Iterator[tuple[str, Entries]]:
    """What several keys say together."""
    data = {**tree, **tree.get("datamodule_args", {})}
    roots = [data[name] for name in ("vqa_root", "vg_root") if name in data]
    if roots:
        yield "vqa_root, vg_root", {"data.images": roots}
    if "bert_config" in tree:
        yield "bert_config", _bert_sizes(tree["bert_config"], path)
    vision = tree.get("vision_encoder_args", {})
    if "mlp_dim" in vision:
        yield "vision_encoder_args.mlp_dim", {"model.vision.mlp_ratio": vision["mlp_dim"] / vision["hidden_size"]}
    text, fusion = tree.get("text_encoder_args", {}), tree.get("multimodal_encoder_args", {})
    if "num_hidden_layers" in text and "num_hidden_layers" in fusion:
        alone, both = text["num_hidden_layers"], fusion["num_hidden_layers"]
        layers = {"model.text.num_layers": alone + both, "model.text.fusion_layer": alone}
        yield "text_encoder_args.num_hidden_layers", layers
    if "pretrained_checkpoint" in tree:
        root = tree.get("checkpoint_root") or tree.get("training_args", {}).get("checkpoint_root", "")
        yield "pretrained_checkpoint", {"init": str(Path(root) / tree["pretrained_checkpoint"])}


def _bert_sizes(name: str, path: Path) -> Entries:
    """The sizes in the file `name`, relative to the working folder or to the configuration's; BERT-base without one."""
    places = [Path(name), path.parent / name, path.parent / Path(name).name]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return {}
    sizes = json.loads(file.read_text(encoding="utf-8"))
    known = {key: value for key, value in sizes.items() if key in _BERT}
    return {key: value for _, found in _translated(known, _BERT, str(file), "") for key, value in found.items()}
