"""What every `run_<task>.py` of ViLBERT does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pyutils.config.command_line import Flag, Run, standard_parser
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from vilbert_paddle.flags import ACCUMULATION, COMMON_FLAGS, DEFAULT_CONFIGS
from vilbert_paddle.task_file import multitask_overrides, read_tasks
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, with_recipe
from vilbert_paddle.tasks.multitask import TASKS, MultitaskTask
from vilbert_paddle.weights import load_initial


def main(script: str, recipe: str, task: type[VilbertTask], flags: Sequence[Flag] = ()) -> None:
    """Parse the command line of `script`, whose default configuration is `recipe`, and train or evaluate `task`."""
    parser = standard_parser(script, DEFAULT_CONFIGS / recipe, [*COMMON_FLAGS, *flags], task.config_class)
    run = with_task_file(parser.parse(), DEFAULT_CONFIGS / recipe, task)
    config = settle(run, run.load(task.config_class))
    if task is MultitaskTask and "tasks_file" in run.extra:  # the file's tasks in place of the recipe's
        config = replace(config, tasks={name: member for name, member in config.tasks.items() if member.tasks_file})
    run_task(replace(run, output_dir=None), with_recipe(config, task.heads_of(config)), task, load_initial)


def with_task_file(run: Run, recipe: Path, task: type[VilbertTask]) -> Run:
    """`run` with what --tasks_file and --tasks mean under the settings typed: the entry's fields over its recipe, which
    stands in for the script's own, `recipe`. InputError for an entry of another script."""
    path, wanted = run.extra.get("tasks_file"), run.extra.get("tasks", "")
    if path is None:
        if wanted:
            raise InputError("--tasks names entries of a task file: give --tasks_file vilbert_tasks.yml with it")
        return run
    entries = read_tasks(path, wanted)
    if task is MultitaskTask:
        return replace(run, overrides=(*multitask_overrides(path, entries), *run.overrides))
    if len(entries) > 1:
        raise InputError(f"--tasks {wanted}: run_multitask.py trains several tasks, this script one")
    entry = entries[0]
    if TASKS[entry.kind.task] is not task:
        raise InputError(f"{entry.origin}: {entry.name} is for run_{entry.kind.task}.py")
    base = entry.recipe if run.config_path == recipe else run.config_path
    return replace(run, config_path=base, overrides=(*entry.overrides(), *run.overrides))


def settle(run: Run, config: VilbertRunConfig) -> VilbertRunConfig:
    """`config` with what flags mean together: the folder of a run, the micro-batch, the weights to evaluate."""
    output_dir = Path(run.output_dir or config.output_dir) / run.extra.get("save_name", "")
    train = config.train
    if any(override.origin == ACCUMULATION for override in run.overrides):
        if train.batch_size % train.accumulation_steps:
            raise InputError(
                f"{ACCUMULATION} {train.accumulation_steps} does not divide the batch size {train.batch_size}: "
                "give --batch_size a multiple of it"
            )
        train = replace(train, batch_size=train.batch_size // train.accumulation_steps)
    init = config.init
    if run.evaluate and not any(override.key == "init" for override in run.overrides):
        # A recipe's `init` is where training begins; what is to be measured is what came out of it.
        found = any((output_dir / name).is_dir() for name in ("best", "last"))
        init = "" if found else config.trained
    return replace(config, output_dir=str(output_dir), train=train, init=init)
