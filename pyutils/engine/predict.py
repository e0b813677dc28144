"""Prediction with a trained checkpoint, for every model and task: a whole split, or one example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from pyutils import distributed
from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.config.loading import read_tree
from pyutils.console import markdown_table, say
from pyutils.engine.image_regions import extracted_regions
from pyutils.engine.opening import has_model_only, open_weights, published_task
from pyutils.errors import InputError
from pyutils.regions.choice import REGION_NAMES
from pyutils.text.cleaning import has_words
from pyutils.weights.checkpoint import CONFIG_FILE
from pyutils.weights.pretrained import with_fields

if TYPE_CHECKING:
    from pyutils.engine.run import Initialise
    from pyutils.engine.split_task import SplitTask

    Trained = tuple[type[SplitTask], Any]

_COMMON = ("checkpoint", "task", "split", "output", "device", "member")
_RUN_FOLDERS = ("best", "last")


def predict(
    run: Run,
    task_named: Callable[[str], type[SplitTask]],
    initialise: Initialise,
    member: Optional[Callable[[Run, Path], Optional[Trained]]] = None,
    recipe: Optional[Callable[[type[SplitTask], Path], Any]] = None,
) -> None:
    """Run `run_predict.py`: predict a split or answer one example.

    `task_named` returns the task class of a configuration's `task`; `initialise` and `member` as in
    `pyutils.engine.commands.Package`; `recipe` returns the configuration of a task for weights without one.

    Raises:
        InputError: flags that exclude each other or that the task does not take; raised before weights are read.
    """
    from pyutils.engine.match import check_match
    from pyutils.engine.run import check_output_dir, choose_device

    if not run.extra.get("checkpoint"):
        raise InputError(
            "--checkpoint is missing: give a checkpoint directory, the output directory of a run, or a file"
        )
    file = open_weights(run.extra["checkpoint"])
    path = run.config_path or file.with_name(CONFIG_FILE)
    named = run.extra.get("task") or published_task(run.extra["checkpoint"])
    if run.config_path is None and recipe and named and not (path.is_file() and not has_model_only(path)):
        task_class = task_named(named)
        config = with_fields(recipe(task_class, file), {o.key: o.value for o in run.overrides}, "--set")
    elif path.is_file():
        task_class, config = (member(run, path) if member else None) or trained_config(run, path, task_named)
    else:
        raise InputError(
            f"{path}: no such configuration; give the task of {file} by --task, or the recipe that it was trained "
            "with by --config"
        )
    check_flags(task_class, run.extra, file)
    choose_device(run)
    output = output_folder(run, config, file)
    distributed.initialize()
    build: Callable[[Any], SplitTask] = task_class  # every task's own constructor takes its configuration
    with extracted_regions(config, run.extra, file.parent) as config:
        task = build(task_class.with_saved_files(config, file.parent))
        if "split" in run.extra:
            check_output_dir(output)
            task.eval_records(run.extra["split"])  # before the weights, so that a wrong name fails fast
        else:
            task.check_example(run.extra, output)
        check_match(task, file.parent)
        say(str(initialise(task.model, str(file), [])))
        if "split" in run.extra:
            write_split(task, run.extra["split"], output, run.extra, file)
        else:
            say(markdown_table(task.answer_example(run.extra, output)))


def trained_config(run: Run, path: Path, task_named: Callable[[str], type[SplitTask]]) -> Trained:
    """Return the task class of the configuration file `path`, and the configuration with the command-line values.

    Raises:
        InputError: neither the file nor the command line names a task, or they name different ones.
    """
    named, typed = read_tree(path).get("task"), run.extra.get("task")
    if not named and not typed:
        raise InputError(f"{path}: has no `task`; give the task of the checkpoint by --task")
    task_class = task_named(str(typed or named))
    if named and named != task_class.name:
        raise InputError(f"{path}: this checkpoint is of task {named}, not of {task_class.name}; omit --task")
    return task_class, load_config(task_class.config_class, path, run.overrides)


def check_flags(task_class: type[SplitTask], extra: Mapping[str, Any], file: Path) -> None:
    """Raise InputError unless the flags are of the task and describe either a split or one example."""
    wanted = task_class.example_flags
    takes = (*_COMMON, *wanted, *task_class.predict_flags)
    source = [name for name in REGION_NAMES if name in extra]
    foreign = [name for name in extra if name not in takes and not (name in source and "image" in wanted)]
    example = [name for name in wanted if name in extra]
    complete = bool(wanted) and all(str(extra.get(name, "")).strip() for name in wanted)
    one = f", or {' '.join('--' + name for name in wanted)} for one example" if wanted else ""
    problem = ""
    if foreign:
        problem = f"--{foreign[0]} is not for {task_class.name}, the task of {file}; it takes --{' --'.join(takes)}"
    elif "split" in extra and example:
        problem = f"--split and --{example[0]} exclude each other: a whole split, or one example"
    elif "split" in extra and source:
        problem = f"--split and --{source[0]} exclude each other: images of a split have stored features"
    elif "split" not in extra and not complete:
        problem = f"{task_class.name}: give --split for result files{one}"
    elif "split" not in extra and "text" in wanted and not has_words(extra["text"]):
        problem = f"--text {extra['text']!r} has no letter or digit; write a sentence or a question"
    if problem:
        raise InputError(problem)


def output_folder(run: Run, config: Any, file: Path) -> Path:
    """Return `--output`, else the directory of the split below that of the run or, for a file, below `output_dir`.

    That of `--config` and `--set`, else the default: a configuration beside the weights may be a stranger's.
    """
    extra = run.extra
    if extra.get("output"):
        return Path(extra["output"])
    folder = file.parent if file.parent.name not in _RUN_FOLDERS else file.parent.parent
    own = run.config_path is not None or any(override.key == "output_dir" for override in run.overrides)
    base = config.output_dir if own else type(config).output_dir
    run_folder = folder if Path(extra["checkpoint"]).is_dir() else Path(base)
    return run_folder / extra.get("split", "")


def write_split(task: SplitTask, split: str, output: Path, extra: Mapping[str, Any], file: Path) -> None:
    """Write the result files of `split`; if it has labels, print and write its metrics."""
    from pyutils.engine.run import write_metrics

    predictions = task.predict_with(extra, split)
    metrics = predictions.metrics()
    if distributed.is_main():
        output.mkdir(parents=True, exist_ok=True)
        written = predictions.write(output)
        say(f"{len(task.eval_records(split))} predictions of {split!r} written to {', '.join(map(str, written))}")
        if metrics:
            write_metrics(task, output, split, {**metrics, **predictions.conditions()}, file)
            say(markdown_table([{"split": split, **metrics}]))
    distributed.barrier()
