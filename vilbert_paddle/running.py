"""What every `run_<task>.py` of ViLBERT does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pyutils.cli import Flag, Run, standard_parser
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from vilbert_paddle.flags import ACCUMULATION, COMMON_FLAGS, DEFAULT_CONFIGS
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, with_recipe
from vilbert_paddle.weights import load_initial


def main(script: str, recipe: str, task: type[VilbertTask], flags: Sequence[Flag] = ()) -> None:
    """Parse the command line of `script`, whose default configuration is `recipe`, and train or evaluate `task`."""
    parser = standard_parser(script, DEFAULT_CONFIGS / recipe, [*COMMON_FLAGS, *flags], task.config_class)
    run = parser.parse()
    config = settle(run, run.load(task.config_class))
    run_task(replace(run, output_dir=None), with_recipe(config, task.heads_of(config)), task, load_initial)


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
