"""Identity of a run: settings, training records and the files of a checkpoint.

A checkpoint stores the identity of its run; resuming compares it with the current one.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.config.loading import parse_mapping, to_dict
from pyutils.data.order import TrainOrder
from pyutils.engine.settings import TrainConfig
from pyutils.engine.task import Task
from pyutils.errors import InputError

# Settings of `train` that do not change a step, so that they may differ on resume. batch_size is part of the effective
# batch.
_FREE = {
    *("workers", "eval_batch_size", "eval_split", "evaluate_before_training", "eval_every_epochs", "eval_every_steps"),
    *("save_every_steps", "keep_every_steps", "checkpoint_format", "log_every", "scalars", "boards"),
    *("non_finite", "recompute"),
    "batch_size",
}
_LENGTH = {"epochs", "max_steps"}
# Other settings that a resumed run does not use: its weights come from the checkpoint.
_UNREAD = {"task", "output_dir", "init", "init_may_miss", "eval_split"}
_INITIAL = ".init_std"  # of the model's parts
_SAMPLED_RECORDS = 512
_FILE_NAME = re.compile(r"[/\\]|^~|\.[A-Za-z]\w{1,9}$")
REQUIRED = ("task", "train_records", "effective_batch", "processes", "train")


def run_identity(cfg: TrainConfig, order: TrainOrder, task: Task, records: Sequence[Any]) -> dict[str, Any]:
    """Return the values that a checkpoint stores and a resumed run is compared with, as JSON types."""
    identity = {
        "task": task.name,
        "train_records": order.records,
        "records": fingerprint(records),
        "effective_batch": order.effective_batch,
        "processes": order.world,
        "train": _settings(cfg),
        "config": task_settings(task.config_text),
    }
    return json.loads(json.dumps(identity))


def task_settings(config_text: str) -> dict[str, Any]:
    """Return {dotted key: value} of a task's resolved configuration (YAML), without `train` and unused settings."""
    tree = parse_mapping(config_text, "the task's configuration")
    return flat({name: value for name, value in tree.items() if name != "train" and name not in _UNREAD})


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings and lists of mappings: {"model.text.num_layers": 12, "vqa.splits.train.0.root": …}."""
    if isinstance(tree, Mapping) and tree:
        entries: Iterable[tuple[Any, Any]] = tree.items()
    elif isinstance(tree, list) and any(isinstance(item, Mapping) for item in tree):
        entries = enumerate(tree)
    else:
        infinite = isinstance(tree, float) and not math.isfinite(tree)  # which JSON lacks
        return {prefix: str(tree) if infinite else tree}
    found: dict[str, Any] = {}
    for name, value in entries:
        found.update(flat(value, f"{prefix}.{name}" if prefix else str(name)))
    return found


def fingerprint(records: Sequence[Any]) -> str:
    """Return the SHA-256 of up to 512 evenly spaced records, first and last included.

    Takes milliseconds; a change that touches none of those records is not detected. Of paths only the file name counts,
    so that data can be moved.
    """
    digest = hashlib.sha256()
    positions = np.linspace(0, len(records) - 1, _SAMPLED_RECORDS) if len(records) else ()
    for index in sorted({round(position) for position in positions}):
        digest.update(repr(_content(records[index])).encode("utf-8"))
    return digest.hexdigest()


def check_identity(saved: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Check that resuming from `folder` continues the same run.

    The effective batch (batch_size x processes x accumulation_steps) must not change. Permitted with a warning: another
    number of processes at the same effective batch and accumulation (same records per step, other dropout), another
    length of the run (the schedule follows it), other paths to the same training records, settings of one side only.

    Raises:
        InputError: the runs differ, with every difference.
    """
    changed = _changed_data(saved, now) + _changed_training(saved["train"], now["train"], folder)
    changed += _changed_settings(saved.get("config", {}), now["config"], folder)
    if changed:
        raise InputError(
            f"{folder}: this checkpoint belongs to a run with other settings:\n  " + "\n  ".join(changed) + "\n"
            "Resume with the settings of that run, or start a new run from its weights in another --output_dir."
        )
    if saved["processes"] != now["processes"]:
        warnings.warn(
            f"{folder}: written by {saved['processes']} process(es), now {now['processes']}: same records in each "
            "step, other dropout, so the result will be close, not equal bit for bit",
            stacklevel=2,
        )


def _changed_data(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = [
        f"{name}: {saved[name]} there, {now[name]} now"
        for name in ("task", "train_records")
        if saved[name] != now[name]
    ]
    if not found and saved.get("records", now["records"]) != now["records"]:
        found.append(f"the training records: as many ({now['train_records']}), but not the same or in another order")
    if saved["effective_batch"] != now["effective_batch"]:
        found.append(
            f"effective batch (train.batch_size x processes x train.accumulation_steps): {saved['effective_batch']} "
            f"there, {now['effective_batch']} now"
        )
    return found


def _changed_training(before: Mapping[str, Any], after: Mapping[str, Any], folder: Path) -> list[str]:
    found = []
    for name in sorted(before.keys() & after.keys() - _FREE):
        if before[name] == after[name]:
            continue
        text = f"train.{name}: {before[name]} there, {after[name]} now"
        if name in _LENGTH:
            warnings.warn(f"{folder}: {text}; the learning-rate schedule follows the new length", stacklevel=3)
        else:
            found.append(text)
    return found


def _changed_settings(before: Mapping[str, Any], after: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the differences that change the result; warn about paths and one-sided settings."""
    found: list[str] = []
    moved: list[str] = []
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) == after.get(name) or name.endswith(_INITIAL):
            continue
        texts = [str(side[name]) if name in side else "not set" for side in (before, after)]
        one_sided = name not in before or name not in after
        target = moved if one_sided or _is_path(before[name], after[name]) else found
        target.append(f"{name}: {texts[0]} there, {texts[1]} now")
    if moved:
        text = "\n  ".join(moved)
        warnings.warn(f"{folder}: written with other paths; they must hold the same data:\n  {text}", stacklevel=3)
    return found


def _is_path(*values: Any) -> bool:
    """Return True if all values are text and one of them looks like a file or folder."""
    return all(isinstance(value, str) for value in values) and any(_FILE_NAME.search(value) for value in values)


def _settings(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return {"optimizer.lr": 2e-5, …} of a configuration; a mapping without fixed keys is one value."""
    found: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            found.update(_settings(value, f"{prefix}{item.name}."))
        else:
            found[prefix + item.name] = to_dict(value)
    return found


def _content(value: Any) -> Any:
    """Convert a record to plain values whose `repr` is the same in every process."""
    if is_dataclass(value):
        return [_content(getattr(value, item.name)) for item in fields(value)]
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return [[str(key), _content(entry)] for key, entry in value.items()]
    if isinstance(value, (list, tuple)):
        return [_content(entry) for entry in value]
    if isinstance(value, (str, Path)):
        text = str(value)
        return text if " " in text else text.rpartition("/")[2]
    return value if isinstance(value, (bool, int, float, bytes, type(None))) else type(value).__name__
