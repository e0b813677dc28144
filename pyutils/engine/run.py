"""What every `run_<task>.py` does once its configuration is read: build the task, load weights, train or evaluate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import paddle

from pyutils.cli import Run, print_config
from pyutils.config import setting
from pyutils.engine.checkpoint import find_checkpoint, load_weights
from pyutils.engine.determinism import seed_initial
from pyutils.engine.loading import LoadReport
from pyutils.engine.run_log import markdown_table, say
from pyutils.engine.settings import TrainConfig
from pyutils.engine.task import Task
from pyutils.engine.trainer import Trainer
from pyutils.errors import InputError


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

    `initialise` puts weights of the originals or of ours into a model: called as `(model, source, may_miss)`.
    """
    config = resolve(run, config)
    seed_initial(config.train.seed)
    task = build(config)
    print_config(task.config if hasattr(task, "config") else config)
    trainer = Trainer(task, config.train, config.output_dir)
    if run.evaluate:
        say(str(load_for_use(task.model, config, initialise)))
        metrics = trainer.evaluate(config.eval_split)
        say(markdown_table([{"split": config.eval_split, **metrics}]))
        return
    if config.init:
        say(str(initialise(task.model, config.init, list(config.init_may_miss))))
    best = trainer.run(run.resume)
    if best:
        say(f"best on {config.train.eval_split}:\n" + markdown_table([best]))


def load_for_use(model: paddle.nn.Layer, config: RunConfig, initialise: Initialise) -> LoadReport:
    """Weights for evaluation: `init`, else the best checkpoint of the output folder. Nothing may be missing."""
    if config.init:
        return initialise(model, config.init, [])
    try:
        return load_weights(model, find_checkpoint(Path(config.output_dir)))
    except InputError as error:
        raise InputError(f"nothing to evaluate: {error}; name weights with --set init=PATH") from error
