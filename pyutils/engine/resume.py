"""Taking up a run where it stopped: which checkpoint, whether the settings still fit, and the state itself."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.config import to_dict
from pyutils.data.order import TrainOrder
from pyutils.engine.checkpoint import RunState, find_checkpoint
from pyutils.engine.settings import TrainConfig
from pyutils.errors import InputError
from pyutils.files import recover_folder

AUTO = "auto"
LAST = "last"

# Settings that may change between stop and resume: they alter no step. batch_size counts in the effective batch.
_FREE = {
    *("workers", "eval_batch_size", "eval_split", "evaluate_before_training", "eval_every_epochs", "eval_every_steps"),
    *("save_every_steps", "keep_every_steps", "checkpoint_format", "log_every", "scalars", "non_finite", "recompute"),
    "batch_size",
}
_LENGTH = {"epochs", "max_steps"}


@dataclass
class Progress:
    """How far a run has come.

    step: optimizer steps taken; evaluated_at, metrics: the last evaluation; best_step, best_metrics: the best one.
    """

    step: int = 0
    evaluated_at: int = -1
    metrics: dict[str, float] = field(default_factory=dict)
    best_step: int = -1
    best_metrics: dict[str, float] = field(default_factory=dict)


def resume_folder(resume: str | None, output_dir: Path) -> Path | None:
    """The checkpoint folder to go on from, or None to start afresh.

    `resume` is None, "auto" (the output folder's `last` if there is one), a checkpoint folder, or another run's output
    folder (its `last`). InputError when a named folder holds no checkpoint.
    """
    if not resume:
        return None
    base = output_dir if resume == AUTO else Path(resume)
    last = base / LAST
    recover_folder(last)
    if last.is_dir():
        return last
    return None if resume == AUTO else find_checkpoint(base)


def run_identity(cfg: TrainConfig, order: TrainOrder, task_name: str) -> dict[str, Any]:
    """What a resumed run is compared by; stored in the checkpoint."""
    return {
        "task": task_name,
        "train_records": order.records,
        "effective_batch": order.effective_batch,
        "processes": order.world,
        "train": to_dict(cfg),
    }


def check_identity(saved: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """InputError, naming every field, when going on from `folder` would not continue the same run.

    The effective batch (batch_size x processes x accumulation_steps) must stay. Another number of processes at the same
    effective batch and accumulation is permitted with a warning: the records of each step are the same, dropout is not.
    A longer or shorter run is permitted with a warning: the schedule follows the new length.
    """
    changed = [
        f"{name}: {saved[name]} there, {now[name]} now"
        for name in ("task", "train_records")
        if saved[name] != now[name]
    ]
    if saved["effective_batch"] != now["effective_batch"]:
        changed.append(
            f"effective batch (train.batch_size x processes x train.accumulation_steps): {saved['effective_batch']} "
            f"there, {now['effective_batch']} now"
        )
    before, after = _flat(saved["train"]), _flat(now["train"])
    for name in sorted({*before, *after}):
        if name in _FREE or name not in before or name not in after or before[name] == after[name]:
            continue
        text = f"train.{name}: {before[name]} there, {after[name]} now"
        if name in _LENGTH:
            warnings.warn(f"{folder}: {text}; the learning rate follows the new length", stacklevel=2)
        else:
            changed.append(text)
    if changed:
        raise InputError(
            f"{folder}: this checkpoint belongs to a run with other settings:\n  " + "\n  ".join(changed) + "\n"
            "Resume with the settings of that run, or start a new one from its weights in another --output_dir."
        )
    if saved["processes"] != now["processes"]:
        warnings.warn(
            f"{folder}: written by {saved['processes']} process(es), now {now['processes']}: same records in each "
            "step, other dropout, so the result will be close, not equal bit for bit",
            stacklevel=2,
        )


def capture(progress: Progress, identity: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> RunState:
    """The state of a run: `groups` are the flat states of optimizer, schedule, scaler and task."""
    state = RunState({"progress": asdict(progress), "identity": dict(identity)})
    for group, values in groups.items():
        pack(group, values, state)
    return state


def pack(group: str, state: Mapping[str, Any], into: RunState) -> None:
    """Put a flat state of arrays and numbers under the name `group`."""
    into.values[group] = {}
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            into.arrays[f"{group}/{name}"] = value
        else:
            into.values[group][name] = value


def unpack(group: str, state: RunState) -> dict[str, Any]:
    """The flat state that `pack` put under `group`, with its own copies of the arrays."""
    prefix = f"{group}/"
    arrays = {name[len(prefix) :]: np.array(value) for name, value in state.arrays.items() if name.startswith(prefix)}
    return {**state.values[group], **arrays}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"optimizer.lr": 2e-5, …} of nested settings, tuples as lists (as JSON returns them)."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
