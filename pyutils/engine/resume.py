"""Resume a run: find the checkpoint and restore its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.console import say
from pyutils.engine.identity import REQUIRED
from pyutils.errors import InputError
from pyutils.formats.atomic import recover_folder
from pyutils.formats.json_files import read_json
from pyutils.weights.checkpoint import STATE_VALUES, RunState, load_state
from pyutils.weights.places import find_checkpoint

AUTO = "auto"
LAST = "last"

_GROUPS = ("progress", "identity", "optimizer", "schedule", "scaler", "task")


@dataclass
class Progress:
    """Progress of a run.

    step: optimizer steps taken; evaluated_at, metrics: the last evaluation; best_step, best_metrics: the best one.
    """

    step: int = 0
    evaluated_at: int = -1
    metrics: dict[str, float] = field(default_factory=dict)
    best_step: int = -1
    best_metrics: dict[str, float] = field(default_factory=dict)


def resume_folder(resume: str | None, output_dir: Path) -> Path | None:
    """Return the checkpoint folder to resume from, or None to start from scratch.

    `resume` is None, "auto" (`last` of the output folder if it exists), a checkpoint folder, or the output folder of
    another run (its `last`). Raises InputError if a given folder has no checkpoint.
    """
    if not resume:
        return None
    base = output_dir if resume == AUTO else Path(resume)
    last = base / LAST
    recover_folder(last)
    if last.is_dir():
        return last
    if resume == AUTO:
        say(f"nothing to resume in {base}: starting from scratch")
        return None
    return find_checkpoint(base)


def load_run(folder: Path) -> RunState:
    """Load the state of a run from the checkpoint `folder`. Raises InputError, with the missing parts, if damaged."""
    state = load_state(folder)
    missing = [name for name in _GROUPS if not isinstance(state.values.get(name), Mapping)]
    if not missing:
        wanted = {"progress": [item.name for item in fields(Progress)], "identity": REQUIRED}
        missing = [f"{name}.{key}" for name, keys in wanted.items() for key in keys if key not in state.values[name]]
    if missing:
        raise InputError(
            f"{folder / STATE_VALUES}: damaged, it lacks {', '.join(missing)}; resume from another checkpoint, or "
            f"start a new run from these weights with --set init={folder} and another --output_dir"
        )
    return state


def capture(
    progress: Progress, total_steps: int, identity: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]
) -> RunState:
    """Return the state of a run; `groups` are the flat states of optimizer, schedule, scaler and task."""
    length = {"total_steps": total_steps, "finished": progress.step >= total_steps}
    state = RunState({**length, "progress": asdict(progress), "identity": dict(identity)})
    for group, values in groups.items():
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        state.arrays.update({f"{group}/{name}": value for name, value in arrays.items()})
        state.values[group] = {name: value for name, value in values.items() if name not in arrays}
    return state


def unfinished(folder: Path) -> str:
    """Describe how far the interrupted run came whose `last` is `folder`; empty for other checkpoints."""
    file = folder / STATE_VALUES
    values = read_json(file) if file.is_file() else None
    if not isinstance(values, Mapping) or values.get("finished", True):
        return ""
    return f"{folder} is of a run that stopped at step {values['progress']['step']} of {values['total_steps']}"


def unpack(group: str, state: RunState) -> dict[str, Any]:
    """Return the flat state of `group`, with copies of the arrays."""
    prefix = f"{group}/"
    arrays = {name[len(prefix) :]: np.array(value) for name, value in state.arrays.items() if name.startswith(prefix)}
    return {**state.values[group], **arrays}
