"""Open a checkpoint to use it: find its model package, its task and its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.config.loading import read_tree
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike
from pyutils.packages import CHECKPOINTS, COMMANDS, announced
from pyutils.weights.checkpoint import CONFIG_FILE
from pyutils.weights.places import resolve_weights
from pyutils.weights.pretrained import with_fields

if TYPE_CHECKING:
    from pyutils.engine.commands import Package
    from pyutils.engine.split_task import SplitTask


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A weight file, the package and task class that read it, and the configuration."""

    file: Path
    package: Package
    task_class: type[SplitTask]
    config: Any

    def build(self) -> SplitTask:
        """Build the task for given examples, with the checkpoint's files, and load the weights, all of them.

        Raises:
            InputError: weights of another task, or a missing vocabulary or answer list.
        """
        config = self.task_class.for_examples(self.task_class.with_saved_files(self.config, self.file.parent))
        task = self.task_class(config)  # type: ignore[call-arg]
        self.package.load_parts().initialise(task.model, str(self.file), [])
        return task


def open_checkpoint(
    pipeline: str,
    source: PathLike,
    config_path: Optional[PathLike] = None,
    settings: Mapping[str, Any] | None = None,
    member: str = "",
) -> OpenedCheckpoint:
    """Find out how to read the checkpoint `source` for `pipeline`.

    Args:
        source: see `resolve_weights`. config_path: its configuration; None: the `config.yaml` beside the weights, else
            the recipe of the pipeline's task with the sizes of the weights (files of other code bases).
        settings: dotted fields of the configuration to override. member: the task of a multi-task checkpoint.

    Raises:
        InputError: no such checkpoint; a checkpoint or a model that the pipeline is not for.
    """
    file = resolve_weights(source)
    path = Path(config_path) if config_path else file.with_name(CONFIG_FILE)
    if config_path and not path.is_file():
        raise InputError(f"{path}: no such configuration")
    named = str(read_tree(path).get("task") or "") if path.is_file() else ""
    package = _package(named.partition("_")[0], file)
    if named:
        task_class, config = _trained(package, path, named, member)
        config = with_fields(config, settings or {}, "settings")
        _check_pipeline(pipeline, task_class, package, str(source))
    else:
        task_class = _task_for(pipeline, package, str(source))
        config = with_fields(_recipe(package, task_class, file), settings or {}, "settings")
    return OpenedCheckpoint(file, package, task_class, config)


def _package(model: str, file: Path) -> Package:
    """Return the package of a model, "albef", or else that whose tensors `file` has."""
    packages = announced(COMMANDS)
    return packages[model if model in packages else _model_of(file)].load()


def _model_of(file: Path) -> str:
    """Return the name of the model whose tensors `file` has. Raises InputError for a file of none."""
    from pyutils.weights import read

    tensors = read(file)
    for model, entry in announced(CHECKPOINTS).items():
        module = entry.load()
        if module.is_ours(tensors):
            return model
        try:
            if not module.convert(tensors, origin=str(file)).unmapped:
                return model
        except InputError:
            continue
    raise InputError(
        f"{file}: weights of none of {', '.join(announced(CHECKPOINTS))}; `python -m pyutils.weights inspect {file}` "
        "describes them"
    )


def _trained(package: Package, path: Path, named: str, member: str) -> tuple[type[SplitTask], Any]:
    """Return task class and configuration of a checkpoint that our engine saved."""
    run = Run(path, extra={"member": member} if member else {})
    found = package.member(run, path) if package.member else None
    if found is not None:
        return found
    task_class = package.task_named(named)
    return task_class, load_config(task_class.config_class, path)


def _check_pipeline(pipeline: str, task_class: type[SplitTask], package: Package, source: str) -> None:
    if pipeline not in task_class.pipelines:
        others = ", ".join(task_class.pipelines) or "none"
        known = sorted(task.name for task in package.load_parts().tasks.values() if pipeline in task.pipelines)
        raise InputError(
            f"{source}: a checkpoint of task {task_class.name}, which pipeline {pipeline} is not for: it takes "
            f"{' or '.join(known) or 'other models'}. Pipelines of this checkpoint: {others}"
        )


def _task_for(pipeline: str, package: Package, source: str) -> type[SplitTask]:
    """Return the first task of the package that the pipeline is for."""
    tasks = [task for task in package.load_parts().tasks.values() if pipeline in task.pipelines]
    if not tasks:
        every = {name for task in package.load_parts().tasks.values() for name in task.pipelines}
        raise InputError(f"{source}: {package.name} has no task for pipeline {pipeline}: {nearest(pipeline, every)}")
    return tasks[0]


def _recipe(package: Package, task_class: type[SplitTask], file: Path) -> Any:
    """Return the configuration of the task's recipe, with the sizes that follow from the weights."""
    tasks = package.load_parts().tasks
    recipe = next(command.recipe for command in package.commands if tasks[command.script] is task_class)
    config: Any = load_config(task_class.config_class, package.configs / recipe)
    io = announced(CHECKPOINTS)[package.name].load().PRETRAINED
    tensors, _ = io.read_tensors(file)
    return replace(config, model=io.config_for(object, file, tensors))
