"""From a configuration file, ours or of the original's or TorchMultimodal's form, to a run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import paddle

from albef_paddle.config import DECAY_PRESETS
from albef_paddle.original_yaml import as_overrides, is_original
from albef_paddle.tasks.base import AlbefRunConfig, AlbefTask
from albef_paddle.weights import from_bert, from_vit, load_initial, load_parts
from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.console import say
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from pyutils.optim.config import NO_DECAY
from pyutils.weights.checkpoint import read_weights, weight_file
from pyutils.weights.loading import LoadReport
from pyutils.weights.places import locate

C = TypeVar("C", bound=AlbefRunConfig)
_OUT_OF_MEMORY = re.compile(r"out of memory|ResourceExhausted|cannot allocate", re.IGNORECASE)


def run_albef(run: Run, config_class: type[C], task_class: Callable[[C], AlbefTask], default_config: Path) -> None:
    """What every `run_<task>.py` does. InputError says which settings to turn when memory runs out."""
    choose_device(run)
    config = load_run_config(run, config_class, default_config)

    def build(resolved: C) -> AlbefTask:
        task = task_class(resolved)
        if not resolved.init and not run.evaluate:
            start_parts(task, resolved)
        return task

    def initialise(model: paddle.nn.Layer, source: str, may_miss: list[str]) -> LoadReport:
        return load_initial(model, source, config.model, may_miss)

    try:
        run_task(run, config, build, initialise)
    except (MemoryError, RuntimeError) as error:
        if not _OUT_OF_MEMORY.search(str(error)) and not isinstance(error, MemoryError):
            raise
        raise InputError(out_of_memory(config)) from error


def choose_device(run: Run) -> None:
    """Follow `--device`; without a GPU, `cuda` says so and the CPU works."""
    wanted = run.extra.get("device")
    if wanted == "cpu":
        paddle.set_device("cpu")
    elif wanted and not paddle.get_device().startswith("gpu"):
        say(f"--device {wanted}: no GPU that Paddle can use, running on the CPU")


def load_run_config(run: Run, config_class: type[C], default_config: Path) -> C:
    """The run's configuration. A file of the original's or TorchMultimodal's form is laid over `default_config`."""
    path = run.config_path
    if path is not None and is_original(path):
        config = load_config(config_class, default_config, [*as_overrides(path, config_class), *run.overrides])
    else:
        config = run.load(config_class)
    return with_decay(config)


def with_decay(config: C) -> C:
    """`config` with the parameters that `decay` spares; patterns that a file gives itself stay."""
    optimizer = config.train.optimizer
    if tuple(optimizer.no_decay) != NO_DECAY:
        return config
    optimizer = replace(optimizer, no_decay=list(DECAY_PRESETS[config.decay]))
    return replace(config, train=replace(config.train, optimizer=optimizer))


def start_parts(task: AlbefTask, config: AlbefRunConfig) -> None:
    """Start the encoders from the BERT and ViT that the configuration names."""
    if config.init_text:
        file = weight_file(locate(config.init_text))
        say(str(load_parts(task.model, from_bert(read_weights(file), task.config.model), str(file))))
    if config.init_vision:
        file = weight_file(locate(config.init_vision))
        say(str(load_parts(task.model, from_vit(read_weights(file)), str(file))))


def out_of_memory(config: AlbefRunConfig) -> str:
    """What to turn when memory runs out, with the present values."""
    train = config.train
    return (
        f"out of memory: lower model.vision.image_size (image_res, {config.model.vision.image_size}) or "
        f"train.batch_size ({train.batch_size}; train.eval_batch_size {train.eval_batch_size or train.batch_size}), "
        f"raise train.accumulation_steps ({train.accumulation_steps}) by as much to keep the effective batch, or set "
        f"train.recompute to true ({str(train.recompute).lower()}) and train.precision to bf16 ({train.precision})"
    )
