"""What every `run_<task>.py` does once its configuration is read: build the task, load weights, train or evaluate."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import paddle

from pyutils import distributed
from pyutils.config import setting
from pyutils.config.command_line import Run, print_config
from pyutils.console import markdown_table, say
from pyutils.engine.determinism import seed_initial
from pyutils.engine.identity import flat
from pyutils.engine.settings import TrainConfig
from pyutils.engine.task import Task
from pyutils.engine.trainer import Trainer
from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike, write_json
from pyutils.formats.yaml_text import parse_yaml
from pyutils.weights.checkpoint import CONFIG_FILE, load_weights
from pyutils.weights.loading import LoadReport
from pyutils.weights.places import find_checkpoint

_OUT_OF_MEMORY = re.compile(r"out of memory|ResourceExhausted|cannot allocate", re.IGNORECASE)
_TRAINING_ONLY = re.compile(r"dropout|drop_path|init_std|momentum|distill")


@dataclass(frozen=True)
class RunConfig:
    """What the configuration of every run has; a task's configuration adds its model and data."""

    task: str = setting("", "Name of the task, e.g. visualbert_vqa; filled in where a recipe leaves it empty.")
    output_dir: str = setting("output", "Folder of checkpoints, logs and results.")
    init: str = setting("", "Weights to start from: a checkpoint of ours or of the originals, or a name; empty: none.")
    init_may_miss: list[str] = setting([], "Regular expressions of our names that `init` need not hold (new heads).")
    eval_split: str = setting("val", "Split that --evaluate takes.")
    train: TrainConfig = setting(TrainConfig, "The training engine.")


C = TypeVar("C", bound=RunConfig)
Initialise = Callable[[paddle.nn.Layer, str, "list[str]"], LoadReport]


def run_task(
    run: Run,
    config: RunConfig,
    build: Callable[[RunConfig], Task],
    initialise: Initialise,
    start: Callable[[Task], None] | None = None,
) -> None:
    """Train (or, with `--evaluate`, evaluate) the task that `build` makes.

    `initialise` loads weights of the originals or of ours into a model: called as `(model, source, may_miss)`; `start`
    gives a new task its initial weights where `config.init` names none. What is evaluated: weights named on the command
    line, else those of the run in the output folder, else `config.init`.

    Raises:
        InputError: as `Trainer.run`, and when memory runs out, with the settings to lower.
    """
    check_output_dir(config.output_dir)
    seed_initial(config.train.seed)
    task = build(config)
    print_config(task.config if hasattr(task, "config") else config)
    trainer = Trainer(task, config.train, config.output_dir)
    try:
        if run.evaluate:
            _evaluate(run, config, trainer, initialise)
        else:
            _train(run, config, trainer, initialise, start)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        raise InputError(out_of_memory(config)) from error


def _train(run: Run, config: RunConfig, trainer: Trainer, initialise: Initialise, start: Any) -> None:
    if config.init:
        say(str(initialise(trainer.task.model, config.init, list(config.init_may_miss))))
    elif start is not None:
        start(trainer.task)
    best = trainer.run(run.resume)
    if best:
        say(f"best on {config.train.eval_split}:\n" + markdown_table([best]))


def _evaluate(run: Run, config: RunConfig, trainer: Trainer, initialise: Initialise) -> None:
    typed = any(override.key == "init" for override in run.overrides)
    source, report = load_for_use(trainer.task, config, initialise, typed)
    say(str(report))
    split = config.eval_split
    metrics = trainer.evaluate(split)
    if distributed.is_main():
        write_metrics(trainer.task, Path(config.output_dir), split, metrics, source)
    say(markdown_table([{"split": split, **metrics}]))


def write_metrics(task: Task, folder: Path, split: str, metrics: dict[str, float], checkpoint: PathLike) -> None:
    """Write `metrics_<split>.json`: the metrics, and what they are of (task, checkpoint, split, image resolution)."""
    size = _model_settings(task.config_text, "the task's configuration").get("vision.image_size")
    resolution = {} if size is None else {"image_size": size}
    of = {"task": task.name, "checkpoint": str(checkpoint), "split": split, **resolution}
    write_json(folder / f"metrics_{split}.json", {**metrics, **of})


def choose_device(run: Run) -> None:
    """Follow `--device`; says so where a GPU is asked for and Paddle finds none."""
    wanted = run.extra.get("device")
    if wanted == "cpu":
        paddle.set_device("cpu")
    elif wanted and not paddle.get_device().startswith("gpu"):
        say(f"--device {wanted}: Paddle finds no GPU, running on the CPU")


def out_of_memory(config: RunConfig) -> str:
    """Which settings to lower when memory runs out, with their present values."""
    train = config.train
    vision = getattr(getattr(config, "model", None), "vision", None)
    smaller = f"model.vision.image_size ({vision.image_size}) or " if vision is not None else ""
    return (
        f"out of memory: lower {smaller}train.batch_size ({train.batch_size}; train.eval_batch_size "
        f"{train.eval_batch_size or train.batch_size}) and raise train.accumulation_steps ({train.accumulation_steps}) "
        f"by the same factor to keep the effective batch, or set train.recompute to true "
        f"({str(train.recompute).lower()}) and train.precision to bf16 ({train.precision})"
    )


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


def load_for_use(
    task: Task, config: RunConfig, initialise: Initialise, typed: bool = False
) -> tuple[PathLike, LoadReport]:
    """Load the weights to evaluate, none of which may be missing; return where they come from, and the report.

    `config.init` where it was `typed`, else the best (else last) checkpoint in the output folder, else `config.init`.

    Raises:
        InputError: there are none, or the checkpoint in the output folder has other model settings.
    """
    if config.init and typed:
        say(f"evaluating {config.init}, named on the command line")
        return config.init, initialise(task.model, config.init, [])
    try:
        folder = find_checkpoint(Path(config.output_dir))
    except InputError as error:
        if not config.init:
            raise InputError(f"nothing to evaluate: {error}; name weights with --set init=PATH") from error
        say(f"evaluating {config.init}, the configuration's init: {config.output_dir} holds no checkpoint")
        return config.init, initialise(task.model, config.init, [])
    say(f"evaluating {folder}, the checkpoint in the output folder")
    check_model(task, folder)
    return folder, load_weights(task.model, folder)


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
