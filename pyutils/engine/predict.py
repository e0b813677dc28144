"""Prediction with a trained checkpoint, the same for every model and task: a whole split, or one example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from pyutils import distributed
from pyutils.config import load_config
from pyutils.config.command_line import Flag, Run, positive
from pyutils.config.loading import read_tree
from pyutils.console import markdown_table, say
from pyutils.errors import InputError
from pyutils.text.cleaning import has_words
from pyutils.weights.checkpoint import CONFIG_FILE
from pyutils.weights.places import resolve_weights

if TYPE_CHECKING:
    from pyutils.engine.run import Initialise
    from pyutils.engine.split_task import SplitTask

    Trained = tuple[type[SplitTask], Any]

FLAGS = (
    Flag("--checkpoint", None, help="checkpoint folder, output folder of a run, weight file, or a known name"),
    Flag("--task", None, help="task of a checkpoint whose configuration does not name it"),
    Flag("--split", None, help="predict a whole split of the configuration, into result files"),
    Flag(("--image", "--left"), None, help="image of one example: a file, or its key in the region features"),
    Flag(("--second_image", "--right"), None, help="second image of one example (NLVR2)"),
    Flag(("--text", "--question", "--sentence", "--expression"), None, help="text of one example"),
    Flag("--top", None, type=positive, help="answers or regions to print (default 5)"),
    Flag(("--output", "--output_dir"), None, help="folder for result files (default: <run>/<split>)"),
)
_COMMON = ("checkpoint", "task", "split", "output", "device", "member")
_RUN_FOLDERS = ("best", "last")


def predict(
    run: Run,
    task_named: Callable[[str], type[SplitTask]],
    initialise: Initialise,
    member: Optional[Callable[[Run, Path], Optional[Trained]]] = None,
) -> None:
    """Do what the command line of `run_predict.py` asks for.

    `task_named` gives the task class of a configuration's `task`; `initialise` and `member` as in
    `pyutils.engine.commands.Package`.

    Raises:
        InputError: flags that do not go together or that the checkpoint's task does not take, before weights are read.
    """
    from pyutils.engine.run import check_output_dir, choose_device

    if not run.extra.get("checkpoint"):
        raise InputError("--checkpoint is missing: name a checkpoint folder, the output folder of a run, or a file")
    file = resolve_weights(run.extra["checkpoint"])
    path = run.config_path or file.with_name(CONFIG_FILE)
    if not path.is_file():
        raise InputError(f"{path}: no such configuration; name the recipe that {file} was trained with by --config")
    task_class, config = (member(run, path) if member else None) or trained_config(run, path, task_named)
    check_flags(task_class, run.extra, file)
    choose_device(run)
    output = output_folder(run.extra, config, file)
    distributed.initialize()
    build: Callable[[Any], SplitTask] = task_class  # every task's own constructor takes its configuration
    task = build(task_class.with_saved_files(config, file.parent))
    if "split" in run.extra:
        check_output_dir(output)
        task.eval_records(run.extra["split"])  # before the weights, so that a wrong name costs no time
    else:
        task.check_example(run.extra, output)
    say(str(initialise(task.model, str(file), [])))
    if "split" in run.extra:
        write_split(task, run.extra["split"], output, run.extra, file)
        return
    say(markdown_table(task.answer_example(run.extra, output)))


def trained_config(run: Run, path: Path, task_named: Callable[[str], type[SplitTask]]) -> Trained:
    """The task class that the configuration file `path` names, and the configuration under the command line.

    Raises:
        InputError: the file names no task and none is typed, or another one is typed.
    """
    named, typed = read_tree(path).get("task"), run.extra.get("task")
    if not named and not typed:
        raise InputError(f"{path}: has no `task`; give the task of the checkpoint with --task")
    task_class = task_named(str(typed or named))
    if named and named != task_class.name:
        raise InputError(f"{path}: this checkpoint is of task {named}, not of {task_class.name}; leave --task out")
    return task_class, load_config(task_class.config_class, path, run.overrides)


def check_flags(task_class: type[SplitTask], extra: Mapping[str, Any], file: Path) -> None:
    """Raises InputError for flags that the task does not take, or that do not describe one example or a split."""
    wanted = task_class.example_flags
    takes = (*_COMMON, *wanted, *task_class.predict_flags)
    for name in extra:
        if name not in takes:
            raise InputError(
                f"--{name} is not for {task_class.name}, the task of {file}; it takes --{' --'.join(takes)}"
            )
    example = [name for name in wanted if name in extra]
    if "split" in extra:
        if example:
            raise InputError(f"--split and --{example[0]} exclude each other: a whole split, or one example")
        return
    missing = [name for name in wanted if not str(extra.get(name, "")).strip()]
    if missing or not wanted:
        one = f", or {' '.join('--' + name for name in wanted)} for one example" if wanted else ""
        raise InputError(f"{task_class.name}: give --split for result files{one}")
    if "text" in wanted and not has_words(extra["text"]):
        raise InputError(f"--text {extra['text']!r} has no letter or digit; write a sentence or a question")


def output_folder(extra: Mapping[str, Any], config: Any, file: Path) -> Path:
    """`--output`, else the split's own folder in the folder of the run, else in the configuration's `output_dir`."""
    if extra.get("output"):
        return Path(extra["output"])
    folder = file.parent if file.parent.name not in _RUN_FOLDERS else file.parent.parent
    run_folder = folder if Path(extra["checkpoint"]).is_dir() else Path(config.output_dir)
    return run_folder / extra.get("split", "")


def write_split(task: SplitTask, split: str, output: Path, extra: Mapping[str, Any], file: Path) -> None:
    """Write the result files of `split` and, where it has labels, print and write its metrics."""
    from pyutils.engine.run import write_metrics

    predictions = task.predict_with(extra, split)
    metrics = predictions.metrics()
    if distributed.is_main():
        output.mkdir(parents=True, exist_ok=True)
        written = predictions.write(output)
        say(f"{len(task.eval_records(split))} predictions of {split!r} written to {', '.join(map(str, written))}")
        if metrics:
            write_metrics(task, output, split, metrics, file)
            say(markdown_table([{"split": split, **metrics}]))
    distributed.barrier()
