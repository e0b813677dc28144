"""Main part of every `run_<task>.py`: build the task, load weights, train or evaluate."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import paddle

from pyutils import distributed
from pyutils.config import setting
from pyutils.config.command_line import Run, print_config
from pyutils.config.loading import parse_mapping
from pyutils.console import markdown_table, say
from pyutils.engine.determinism import seed_initial
from pyutils.engine.match import check_match, model_settings, warn_match
from pyutils.engine.output import check_owner
from pyutils.engine.resume import unfinished
from pyutils.engine.settings import TrainConfig
from pyutils.engine.task import Task
from pyutils.engine.trainer import Trainer
from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike, write_json
from pyutils.weights.checkpoint import CONFIG_FILE, load_weights
from pyutils.weights.loading import LoadReport
from pyutils.weights.places import find_checkpoint, resolve_weights

# What Paddle says of a data worker that ended by a signal.
_KILLED_WORKER = re.compile(
    r"DataLoader process.*?(killed by signal|exited|terminate)[^.]*|Blocking queue is killed[^.]*", re.IGNORECASE
)
_OUT_OF_MEMORY = re.compile(r"out of memory|ResourceExhausted|cannot allocate", re.IGNORECASE)


@dataclass(frozen=True)
class RunConfig:
    """Configuration that all tasks share; a task's own adds its model and data."""

    task: str = setting("", "Name of the task, e.g. visualbert_vqa; filled in if a recipe leaves it empty.")
    output_dir: str = setting("output", "Folder of checkpoints, logs and results.")
    init: str = setting("", "Initial weights: a checkpoint (also of the originals), or a known name; empty: none.")
    init_may_miss: list[str] = setting([], "Regular expressions of parameters that `init` may lack (new heads).")
    eval_split: str = setting("val", "Split evaluated by --evaluate.")
    image_input: Literal["shown", "withheld", "shuffled"] = setting(
        "shown", "Baselines: withheld replaces image features by zeros, shuffled by those of another image."
    )
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
    """Train (or, with `--evaluate`, evaluate) the task that `build` returns.

    `initialise(model, source, may_miss)` loads weights of the originals or of this suite into a model; `start` sets
    initial weights of parts of a new task, after `config.init`. Evaluates the weights named on the command line, else
    those of the run in the output folder, else `config.init`.

    Raises:
        InputError: as `Trainer.run`, and out of memory, with the settings to lower.
    """
    check_output_dir(config.output_dir)
    seed_initial(config.train.seed)
    task = build(config)
    if run.print_config:
        print_config(task.config if hasattr(task, "config") else config)
    trainer = Trainer(task, config.train, config.output_dir)
    try:
        if run.evaluate:
            _evaluate(run, config, trainer, initialise)
        else:
            _train(run, config, trainer, initialise, start)
    except (MemoryError, RuntimeError, SystemError) as error:
        if killed := _KILLED_WORKER.search(str(error)):
            raise InputError(killed_worker(config, killed.group())) from error
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        raise InputError(out_of_memory(config)) from error


def _train(run: Run, config: RunConfig, trainer: Trainer, initialise: Initialise, start: Any) -> None:
    load_start(trainer.task, config, initialise, start)
    if config.init:
        _report_unfinished(config.init)
    best = trainer.run(run.resume)
    if best:
        say(f"best on {config.train.eval_split}:\n" + markdown_table([best]))


def load_start(task: Task, config: RunConfig, initialise: Initialise, start: Any = None) -> None:
    """Load the weights that training starts from: `config.init`, then the parts that `start` gives the task."""
    if config.init:
        say(str(initialise(task.model, config.init, list(config.init_may_miss))))
        warn_match(task, resolve_weights(config.init).parent)
    if start is not None:
        start(task)


def _evaluate(run: Run, config: RunConfig, trainer: Trainer, initialise: Initialise) -> None:
    typed = any(override.key == "init" for override in run.overrides)
    source, report = load_for_use(trainer.task, config, initialise, typed)
    say(str(report))
    split = config.eval_split
    metrics, predictions = trainer.evaluate(split)
    if distributed.is_main():
        write_metrics(trainer.task, Path(config.output_dir), split, {**metrics, **predictions.conditions()}, source)
    say(markdown_table([{"split": split, **metrics}]))


def write_metrics(task: Task, folder: Path, split: str, metrics: dict[str, Any], checkpoint: PathLike) -> None:
    """Write `metrics_<split>.json`: metrics (and `Predictions.conditions`), task, checkpoint, split, image size."""
    size = model_settings(task.config_text, "the task's configuration").get("vision.image_size")
    resolution = {} if size is None else {"image_size": size}
    of = {"task": task.name, "checkpoint": str(checkpoint), "split": split, **resolution}
    write_json(folder / f"metrics_{split}.json", {**metrics, **of})


def choose_device(run: Run) -> None:
    """Set the device of `--device`; log it if a GPU is requested but not found."""
    wanted = run.extra.get("device")
    if wanted == "cpu":
        paddle.set_device("cpu")
    elif wanted and not paddle.get_device().startswith("gpu"):
        say(f"device {wanted}: Paddle finds no GPU, running on the CPU")


def killed_worker(config: RunConfig, message: str) -> str:
    """Return the message for a data worker that was killed: the usual reason and what to lower."""
    return (
        f"a data worker was ended from outside ({' '.join(message.split())}), most often because memory ran out. Lower "
        f"train.workers ({config.train.workers}) or train.batch_size ({config.train.batch_size}), then continue with "
        "--resume auto"
    )


def out_of_memory(config: RunConfig) -> str:
    """Return the message for out of memory: the settings to lower, with their current values."""
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
    """Create the directory `path`. Raises InputError if it cannot be created, or a file is in its way."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        file = next((place for place in (Path(path), *Path(path).parents) if place.is_file()), None)
        reason = f"{file} is a file" if file else error.strerror
        raise InputError(f"--output_dir {path}: cannot be created ({reason}); give another directory") from error


def load_for_use(task: Task, config: RunConfig, initialise: Initialise, typed: bool) -> tuple[PathLike, LoadReport]:
    """Load the weights to evaluate, all of them; return their source and the report.

    `config.init` if it was `typed`, else the best (else last) checkpoint in the output folder, else `config.init`.

    Raises:
        InputError: no weights, weights trained with other model settings, vocabulary or answers (`check_match`), or a
            checkpoint in the output folder that was trained from the very `init` that was typed.
    """
    if config.init and typed:
        _refuse_start_of_run(config)
        say(f"evaluating {config.init}, named on the command line")
        return _checked(task, config.init, initialise)
    check_owner(Path(config.output_dir), task.name)
    try:
        folder = find_checkpoint(Path(config.output_dir))
    except InputError as error:
        if not config.init:
            raise InputError(f"nothing to evaluate: {error}; give weights by --set init=PATH") from error
        say(f"evaluating {config.init}, the configuration's init: {config.output_dir} has no checkpoint")
        return _checked(task, config.init, initialise)
    say(f"evaluating {folder}, the checkpoint in the output folder")
    _report_unfinished(folder)
    check_match(task, folder)
    return folder, load_weights(task.model, folder)


def _checked(task: Task, source: str, initialise: Initialise) -> tuple[PathLike, LoadReport]:
    check_match(task, resolve_weights(source).parent)
    return source, initialise(task.model, source, [])


def _report_unfinished(source: PathLike) -> None:
    """Log it where `source` is the checkpoint of an interrupted run."""
    try:
        stopped = unfinished(find_checkpoint(source))
    except InputError:  # a file, a name, or a folder of another code base
        return
    if stopped:
        say(f"{stopped}: its weights are not those of the finished training; --resume auto finishes it")


def _refuse_start_of_run(config: RunConfig) -> None:
    """Raise InputError if the run in the output folder started from `config.init`.

    The flags of the training repeated with --evaluate would then measure its start in place of its result. Which of the
    two is wanted cannot be told.
    """
    try:
        file = find_checkpoint(Path(config.output_dir)) / CONFIG_FILE
    except InputError:
        return
    if not file.is_file():
        return
    started = parse_mapping(file.read_text(encoding="utf-8"), str(file)).get("init")
    if started and _same_source(str(started), config.init):
        raise InputError(
            f"--evaluate with {config.init} is ambiguous: {file.parent} was trained from it. Leave it out to evaluate "
            "what was trained, or give it with another --output_dir to evaluate the start itself."
        )


def _same_source(first: str, second: str) -> bool:
    """True for equal names, and for two spellings of one path."""
    return first == second or Path(first).expanduser().resolve() == Path(second).expanduser().resolve()
