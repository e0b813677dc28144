"""What every `run_<task>.py` does once its configuration is read: build the task, load weights, train or evaluate."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import paddle

from pyutils.config import setting
from pyutils.config.command_line import Run, print_config
from pyutils.console import markdown_table, say
from pyutils.engine.determinism import seed_initial
from pyutils.engine.identity import flat
from pyutils.engine.settings import TrainConfig
from pyutils.engine.task import Task
from pyutils.engine.trainer import Trainer
from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike
from pyutils.formats.yaml_text import parse_yaml
from pyutils.weights.checkpoint import CONFIG_FILE, find_checkpoint, load_weights
from pyutils.weights.loading import LoadReport

_TRAINING_ONLY = re.compile(r"dropout|drop_path|init_std|momentum|distill")


@dataclass(frozen=True)
class RunConfig:
    """What the configuration of every run has; a task's configuration adds its model and data."""

    output_dir: str = setting("output", "Folder of checkpoints, logs and results.")
    init: str = setting("", "Weights to start from: a checkpoint of ours or of the originals, or a name; empty: none.")
    init_may_miss: list[str] = setting([], "Regular expressions of our names that `init` need not hold (new heads).")
    eval_split: str = setting("val", "Split that --evaluate takes.")
    train: TrainConfig = setting(TrainConfig, "The training engine.")


C = TypeVar("C", bound=RunConfig)
Initialise = Callable[[paddle.nn.Layer, str, "list[str]"], LoadReport]


def resolve(run: Run, config: C) -> C:
    """`config` with the command line's `--output_dir` and `--seed` in it."""
    train = config.train if run.seed is None else replace(config.train, seed=run.seed)
    return replace(config, output_dir=run.output_dir or config.output_dir, train=train)


def run_task(run: Run, config: RunConfig, build: Callable[[RunConfig], Task], initialise: Initialise) -> None:
    """Train (or, with `--evaluate`, evaluate) the task that `build` makes.

    `initialise` puts weights of the originals or of ours into a model: called as `(model, source, may_miss)`. What is
    evaluated: weights named on the command line, else those of the run in the output folder, else `config.init`.
    """
    config = resolve(run, config)
    check_output_dir(config.output_dir)
    seed_initial(config.train.seed)
    task = build(config)
    print_config(task.config if hasattr(task, "config") else config)
    trainer = Trainer(task, config.train, config.output_dir)
    if run.evaluate:
        typed = any(override.key == "init" for override in run.overrides)
        say(str(load_for_use(task, config, initialise, typed)))
        metrics = trainer.evaluate(config.eval_split)
        say(markdown_table([{"split": config.eval_split, **metrics}]))
        return
    if config.init:
        say(str(initialise(task.model, config.init, list(config.init_may_miss))))
    best = trainer.run(run.resume)
    if best:
        say(f"best on {config.train.eval_split}:\n" + markdown_table([best]))


def check_output_dir(path: PathLike) -> None:
    """Make the folder `path`. InputError when it, or what should be a folder above it, is a file or cannot be made."""
    for place in (Path(path), *Path(path).parents):
        if place.exists():
            if not place.is_dir():
                raise InputError(
                    f"--output_dir {path}: {place} is a file; name a folder, which is made where there is none"
                )
            break
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_dir {path}: cannot be made ({error.strerror}); name another folder") from error


def load_for_use(task: Task, config: RunConfig, initialise: Initialise, typed: bool = False) -> LoadReport:
    """Weights for evaluation: the best (else last) checkpoint in the output folder, else `config.init`; `init` first
    where it was `typed`. Nothing may be missing.

    InputError when there are none, and when the checkpoint in the output folder is of a network with other settings.
    """
    if config.init and typed:
        say(f"evaluating {config.init}, named on the command line")
        return initialise(task.model, config.init, [])
    try:
        folder = find_checkpoint(Path(config.output_dir))
    except InputError as error:
        if not config.init:
            raise InputError(f"nothing to evaluate: {error}; name weights with --set init=PATH") from error
        say(f"evaluating {config.init}, the configuration's init: {config.output_dir} holds no checkpoint")
        return initialise(task.model, config.init, [])
    say(f"evaluating {folder}, the checkpoint in the output folder")
    check_model(task, folder)
    return load_weights(task.model, folder)


def check_model(task: Task, folder: Path) -> None:
    """InputError, naming each one, when settings of the `model` section differ from those the checkpoint was made with.

    Settings that matter in training alone (dropout, initial values, the teacher) may differ.
    """
    file = folder / CONFIG_FILE
    if not file.is_file() or not task.config_text:
        return
    saved, now = (_model_settings(text, str(file)) for text in (file.read_text(encoding="utf-8"), task.config_text))
    changed = [
        f"model.{name}: {saved[name]} there, {now[name]} now"
        for name in sorted(saved.keys() & now.keys())
        if saved[name] != now[name] and not _TRAINING_ONLY.search(name)
    ]
    if changed:
        raise InputError(
            f"{file}: this checkpoint is of a network with other settings:\n  " + "\n  ".join(changed) + "\n"
            f"Evaluate it with its own configuration (--config {file}), or name other weights with --set init=PATH."
        )


def _model_settings(config_text: str, name: str) -> dict[str, Any]:
    tree = parse_yaml(config_text, name)
    if not isinstance(tree, dict):
        raise InputError(f"{name}: expected a mapping of settings, found {type(tree).__name__}; the file is damaged")
    return flat(tree.get("model") or {})
