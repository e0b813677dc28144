"""The flags that users of the original scripts type, and where the default configurations are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pyutils.config.command_line import Flag
from pyutils.errors import InputError

DEFAULT_CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "vilbert"
ACCUMULATION = "--gradient_accumulation_steps"


def network_settings(path: str) -> dict[str, Any]:
    """The configuration keys that a file given as --config_file sets: the original's JSON, or our YAML of a network.

    The originals' own names (`config/bert_base_6layer_6conect.json`) work without the file: ours of that name is read.
    InputError when there is no such network.
    """
    from pyutils.config import load_config
    from vilbert_paddle.config import VilbertConfig, read_original_config
    from vilbert_paddle.tasks.base import VilbertRunConfig

    file, ours = Path(path).expanduser(), DEFAULT_CONFIGS / "model" / f"{Path(path).stem}.yaml"
    if file.suffix == ".json" and (file.is_file() or not ours.is_file()):
        model = read_original_config(file)
    elif file.is_file() or ours.is_file():
        model = load_config(VilbertRunConfig, file if file.is_file() else ours).model
    else:
        known = ", ".join(sorted(entry.stem for entry in ours.parent.glob("*.yaml")))
        raise InputError(f"{path}: no such file; networks that need none: {known}")
    usual = VilbertConfig()
    return {key: value for key, value in _flat(model, "model") if value != _at(usual, key)}


def _flat(node: Any, prefix: str):
    for field in dataclasses.fields(node):
        value, key = getattr(node, field.name), f"{prefix}.{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _flat(value, key)
        else:
            yield key, list(value) if isinstance(value, tuple) else value


def _at(node: Any, key: str) -> Any:
    for name in key.split(".")[1:]:
        node = getattr(node, name)
    return list(node) if isinstance(node, tuple) else node


COMMON_FLAGS = [
    Flag("--from_pretrained", "init", help="weights to start from, or with --evaluate to measure"),
    Flag("--config_file", network_settings, help="JSON of the original or YAML of configs/vilbert/model"),
    Flag("--tasks_file", None, help="vilbert_tasks.yml of the original, whose entry --tasks is to be run"),
    Flag("--tasks", None, help="entries of the task file: TASK10 or 10; for run_multitask.py several: 1-5-10"),
    Flag("--bert_model", "tokenizer", help="vocabulary: bert-base-uncased, or a vocab.txt"),
    Flag("--do_lower_case", None, type=bool, choices=(True,), help="accepted as the original has it"),
    Flag("--save_name", None, help="folder below --output_dir for this run"),
    Flag("--batch_size", "train.batch_size", type=int, help="records of one step on one process"),
    Flag("--learning_rate", "train.optimizer.lr", type=float),
    Flag("--weight_decay", "train.optimizer.weight_decay", type=float),
    Flag("--warmup_proportion", "train.schedule.warmup", type=float),
    Flag("--decay_factor", "train.schedule.gamma", type=float),
    Flag("--num_train_epochs", "train.epochs", type=int),
    Flag("--max_steps", "train.max_steps", type=int),
    Flag(ACCUMULATION, "train.accumulation_steps", type=int, help="micro-batches that --batch_size is cut into"),
    Flag("--num_workers", "train.workers", type=int),
    Flag("--optimizer", None, choices=("BertAdam", "AdamW"), help="accepted as the originals have it"),
]
