"""Do a checkpoint's weights mean the same here? Compares a task with the files beside the weights.

A vocabulary, an answer list or a model setting of equal size loads without an error, but gives wrong numbers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pyutils.config.loading import parse_mapping
from pyutils.console import say
from pyutils.engine.identity import flat
from pyutils.engine.task import Task
from pyutils.errors import InputError
from pyutils.weights.checkpoint import CONFIG_FILE

_TRAINING_ONLY = re.compile(r"dropout|drop_path|init_std|momentum|distill|queue_size")
_USUAL_VOCABULARY = "vocab.txt"


def check_match(task: Task, folder: Path) -> None:
    """Raise InputError, with every difference, unless `task` uses what the weights in `folder` were trained with.

    Compared: the `model` section, up to dropout, initial values, queues and the EMA teacher; the content of vocabulary
    and answer list. A folder without such files passes.
    """
    changed = differences(task, folder)
    if changed:
        raise InputError(
            f"{folder}: these weights were trained with something else:\n  " + "\n  ".join(changed) + "\n"
            f"Use the files and the configuration of the checkpoint (--config {folder / CONFIG_FILE}), or name other "
            "weights by --set init=PATH."
        )


def warn_match(task: Task, folder: Path) -> None:
    """Log the differences of `check_match` for a training that starts from the weights in `folder`."""
    for text in differences(task, folder):
        say(f"warning: {folder}: these weights were trained with something else: {text}")


def differences(task: Task, folder: Path) -> list[str]:
    """Return the differences of `check_match`, each with both values."""
    file = folder / CONFIG_FILE
    saved = parse_mapping(file.read_text(encoding="utf-8"), str(file)) if file.is_file() else {}
    return [*_settings(saved, task), *different_files(task, folder, flat(saved))]


def different_files(task: Task, folder: Path, saved: dict[str, Any]) -> list[str]:
    """Return the files of `task` whose content differs from those saved in `folder`; `saved`: the settings there."""
    found = []
    keys = [*task.file_keys, *[""] * len(task.checkpoint_files())]
    for path, key in zip(map(Path, task.checkpoint_files()), keys):
        names = [Path(str(saved.get(key) or path.name)).name, path.name]
        names += [_USUAL_VOCABULARY] if key == "tokenizer" else []  # which may be named by a folder or a model's name
        there = next((folder / name for name in names if (folder / name).is_file()), None)
        if there is not None and there.resolve() != path.resolve() and _lines(there) != _lines(path):
            found.append(f"{path}: differs from {there}: its tokens or answers would mean something else")
    return found


def model_settings(config_text: str, name: str) -> dict[str, Any]:
    """Return the `model` section of a configuration as {dotted key: value}."""
    return flat(parse_mapping(config_text, name).get("model") or {})


def _settings(saved: dict[str, Any], task: Task) -> list[str]:
    if not task.config_text:
        return []
    before, now = flat(saved.get("model") or {}), model_settings(task.config_text, "the task's configuration")
    return [
        f"model.{name}: {before[name]} there, {now[name]} now"
        for name in sorted(before.keys() & now.keys())
        if before[name] != now[name] and not _TRAINING_ONLY.search(name) and not _follows_vocabulary(name, before[name])
    ]


def _follows_vocabulary(name: str, value: Any) -> bool:
    return name.rpartition(".")[2] == "vocab_size" and value == 0


def _lines(path: Path) -> list[bytes]:
    """The lines of a file: line ends may differ."""
    return path.read_bytes().splitlines()
