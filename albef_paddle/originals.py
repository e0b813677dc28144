"""Configuration files of the original (`image_res`, `optimizer:`, `schedular:`) and of TorchMultimodal's example
(`datamodule_args`, `training_args`) as entries of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Union

from pyutils.config import Override, describe
from pyutils.engine.commands import DEVICES
from pyutils.errors import InputError, nearest
from pyutils.formats.json_files import read_json
from pyutils.formats.yaml_text import parse_yaml

Entries = dict[str, Any]
KeyRule = Union[str, None, Callable[[Any], Entries], Mapping[str, Any]]
"""What a key of the file becomes: our key, nothing, computed entries, or the rules of a nested mapping."""

_SPLITS = "data.splits."
_MARKS = ("image_res", "schedular", "train_file", "test_file", "datamodule_args", "training_args")


def _files(split: str) -> Callable[[Any], Entries]:
    return lambda value: {f"{_SPLITS}{split}": [value] if isinstance(value, str) else list(value)}


def _roots(value: Any) -> Entries:
    return {"data.images": [value] if isinstance(value, str) else list(value)}


# bert_config and TorchMultimodal's text_encoder_args
_BERT = {
    "vocab_size": "model.text.vocab_size",
    "hidden_size": "model.text.hidden_size",
    "num_hidden_layers": "model.text.num_layers",
    "fusion_layer": "model.text.fusion_layer",
    "num_attention_heads": "model.text.num_heads",
    "intermediate_size": "model.text.intermediate_size",
    "hidden_act": "model.text.hidden_act",
    "hidden_dropout_prob": "model.text.hidden_dropout",
    "attention_probs_dropout_prob": "model.text.attention_dropout",
    "max_position_embeddings": "model.text.max_positions",
    "type_vocab_size": "model.text.token_types",
    "layer_norm_eps": "model.text.layer_norm_eps",
    "encoder_width": "model.vision.width",
}

_OPTIMIZER = {
    "opt": lambda value: {"train.optimizer.name": str(value).lower()},
    "lr": "train.optimizer.lr",
    "weight_decay": "train.optimizer.weight_decay",
    "opt_eps": "train.optimizer.eps",
    "opt_betas": "train.optimizer.betas",
    "momentum": "train.optimizer.momentum",
    "opt_args": "train.optimizer.options",
}

_SCHEDULE = {
    "sched": lambda value: {"train.schedule.name": f"albef_{value}"},
    "lr": None,  # the schedule starts from the optimizer's
    "epochs": "train.epochs",
    "lr_noise": lambda value: {"train.schedule.albef.noise": value if isinstance(value, list) else [value]},
    "lr_noise_pct": "train.schedule.albef.noise_pct",
    "lr_noise_std": None,  # read and not used by the original
    "lr_cycle_mul": "train.schedule.albef.cycle_mul",
    "lr_cycle_limit": "train.schedule.albef.cycle_limit",
    "seed": "train.schedule.albef.noise_seed",
    **{name: f"train.schedule.albef.{name}" for name in ("min_lr", "warmup_lr", "warmup_epochs", "cooldown_epochs")},
    **{name: f"train.schedule.albef.{name}" for name in ("decay_rate", "decay_epochs", "patience_epochs")},
}

_IMAGE = {
    "hidden_size": "model.vision.width",
    "image_size": "model.vision.image_size",
    "patch_size": "model.vision.patch_size",
    "num_hidden_layers": "model.vision.depth",
    "num_attention_heads": "model.vision.num_heads",
    "mlp_dim": None,  # needs the width: see _combined
    "dropout": "model.vision.dropout",
    "attention_dropout": "model.vision.attention_dropout",
    "layer_norm_eps": "model.vision.layer_norm_eps",
}

_TRAINING = {
    "alpha": "alpha",
    "weight_decay": "train.optimizer.weight_decay",
    "lr": "train.optimizer.lr",
    "min_lr": "train.schedule.albef.min_lr",
    "max_epochs": "train.epochs",
    "step_size": "train.schedule.albef.warmup_block",
    "warmup_steps": "train.schedule.albef.warmup_epochs",
    "log_every_n_steps": "train.log_every",
    "checkpoint_root": None,  # read by _combined
}

_DATA = {
    "train_files": _files("train"),
    "val_files": _files("val"),
    "test_files": _files("test"),
    "image_root": _roots,
    "answer_list": "answer_list",
    **dict.fromkeys(("vqa_root", "vg_root")),
    "batch_size": "train.batch_size",
    "num_workers": "train.workers",
}

_KEYS: dict[str, KeyRule] = {
    # read by _combined
    **dict.fromkeys(("vqa_root", "vg_root", "bert_config", "eos", "checkpoint_root", "pretrained_checkpoint")),
    "device": None,  # read by device_of
    # without a counterpart, or given by other keys
    **dict.fromkeys(("refcoco_data", "coco_file", "world_size", "dist_url", "embed_size", "pad_token_id")),
    **dict.fromkeys(("hidden_size", "vocab_size", "type_vocab_size", "max_position_embeddings")),
    "train_file": _files("train"),
    "val_file": _files("val"),
    "test_file": _files("test"),
    "image_root": _roots,
    "answer_list": "answer_list",
    "det_file": "detections",
    "image_res": "model.vision.image_size",
    "vision_width": "model.vision.width",
    "embed_dim": "model.embed_dim",
    "temp": "model.temperature",
    "queue_size": "model.queue_size",
    "momentum": "model.momentum",
    "distill": "model.distill",
    "alpha": "alpha",
    "warm_up": "alpha_warmup",
    "mlm_probability": "mlm_probability",
    "k_test": "k_test",
    "batch_size": "train.batch_size",
    "batch_size_train": "train.batch_size",
    "batch_size_test": "train.eval_batch_size",
    "optimizer": _OPTIMIZER,
    "schedular": _SCHEDULE,
    "datamodule_args": _DATA,
    "training_args": _TRAINING,
    "eval_args": {"k_test": "k_test", "log_every_n_steps": None},
    "vision_encoder_args": _IMAGE,
    "text_encoder_args": {**_BERT, "num_hidden_layers": None, "pad_token_id": None},
    "multimodal_encoder_args": dict.fromkeys((*_BERT, "pad_token_id")),
    "text_embeddings_args": dict.fromkeys((*_BERT, "pad_token_id")),
    "prediction_head_args": dict.fromkeys(_BERT),
    "projection_args": {"in_features": None, "out_features": "model.embed_dim"},
    "similarity_args": {
        "embed_size": "model.embed_dim",
        "queue_size": "model.queue_size",
        "temp": "model.temperature",
        "momentum": "model.momentum",
    },
    "seed": "train.seed",
    "output_root": "output_dir",
    "output_path": lambda value: {"output_dir": str(Path(value).parent)},
}


def is_original(path: Path) -> bool:
    """Return True for a YAML file of the original's or TorchMultimodal's form; False also for a missing file."""
    if not path.is_file():
        return False
    tree = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    return isinstance(tree, dict) and any(mark in tree for mark in _MARKS)


def device_of(path: Path) -> str:
    """Return the `device` of such a file without a number, "cuda" or "cpu"; "" if it names none.

    Raises InputError for another one.
    """
    named = str(parse_yaml(path.read_text(encoding="utf-8"), str(path)).get("device") or "")
    kind = named.partition(":")[0]
    if kind not in ("", *DEVICES):
        raise InputError(f"{path}: device: expected one of {', '.join(DEVICES)}, found {named!r}")
    return kind


def as_overrides(path: Path, config_class: type) -> list[Override]:
    """Convert such a file to entries of `config_class`.

    Raises InputError naming file and key: an unknown key, one that this task does not have, or an unsupported value.
    """
    tree = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    known, entries = {row.key for row in describe(config_class)}, {}
    for key, found in [*_translated(tree, _KEYS, str(path), ""), *_combined(tree, path)]:
        for name, value in found.items():
            if not any(name == item or name.startswith(f"{item}.") for item in known):
                raise InputError(f"{path}: {key}: {config_class.__name__} has no {name}; remove the key from the file")
            entries[name] = Override(name, value, f"{path}: {key}")
    return _with_own_splits(entries, "answer_list" in {**tree, **tree.get("datamodule_args", {})})


def _with_own_splits(entries: dict[str, Override], generates_answers: bool) -> list[Override]:
    """Empty the splits that a file with lists of its own leaves out, so that the recipe's lists are not used.

    Without validation lists, a file is evaluated on its test lists, as in the original; for VQA, whose test lists have
    no answers, not during training.
    """
    origin = next((entry.origin for name, entry in entries.items() if name.startswith(_SPLITS)), None)
    if origin is None:
        return list(entries.values())
    missing = [split for split in ("train", "val", "test") if f"{_SPLITS}{split}" not in entries]
    found = [*entries.values(), *(Override(f"{_SPLITS}{split}", [], origin) for split in missing)]
    if "val" in missing:
        held_out = "" if "test" in missing or generates_answers else "test"
        found += [Override("train.eval_split", held_out, origin), Override("eval_split", "test", origin)]
    return found


def _translated(
    tree: Mapping[str, Any], rules: Mapping[str, KeyRule], where: str, prefix: str
) -> Iterator[tuple[str, Entries]]:
    """Yield each key, dotted, with its entries of ours."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if key not in rules:
            raise InputError(f"{where}: unknown key {name!r}: {nearest(str(key), rules)}")
        rule = rules[key]
        if isinstance(rule, Mapping):
            if not isinstance(value, Mapping):
                raise InputError(f"{where}: {name}: expected a mapping, found {type(value).__name__}")
            yield from _translated(value, rule, where, f"{name}.")
        elif rule is not None:
            yield name, {rule: value} if isinstance(rule, str) else rule(value)


def _combined(tree: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Entries]]:
    """Yield entries that depend on several keys or are only checked."""
    if tree.get("eos", "[SEP]") != "[SEP]":
        raise InputError(f'{path}: eos: expected "[SEP]", the end of an answer, found {tree["eos"]!r}')
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
        text_layers = text["num_hidden_layers"]
        layers = {"model.text.num_layers": text_layers + fusion["num_hidden_layers"]}
        yield "text_encoder_args.num_hidden_layers", {**layers, "model.text.fusion_layer": text_layers}
    saved_to = tree.get("training_args", {}).get("checkpoint_root")
    if saved_to:  # comes before output_root, which only has the result file
        yield "training_args.checkpoint_root", {"output_dir": saved_to}
    if "pretrained_checkpoint" in tree:
        root = tree.get("checkpoint_root") or tree.get("training_args", {}).get("checkpoint_root", "")
        yield "pretrained_checkpoint", {"init": str(Path(root) / tree["pretrained_checkpoint"])}


def _bert_sizes(name: str, path: Path) -> Entries:
    """Read the sizes in the JSON file `name`, relative to the working directory or to `path`; {} if it is missing."""
    candidates = (Path(name), path.parent / name, path.parent / Path(name).name)
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    sizes = read_json(file) if file else {}
    return {_BERT[key]: value for key, value in sizes.items() if key in _BERT}
