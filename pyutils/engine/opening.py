"""Open a checkpoint to use it: find its model package, its task and its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from pyutils.config import Override, load_config
from pyutils.config.command_line import Run
from pyutils.config.loading import read_tree
from pyutils.engine.image_regions import say_unread
from pyutils.engine.published_files import with_published_files
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike
from pyutils.packages import CHECKPOINTS, COMMANDS, announced
from pyutils.weights import read, registry
from pyutils.weights.checkpoint import CONFIG_FILE
from pyutils.weights.places import resolve_weights
from pyutils.weights.pretrained import with_fields

if TYPE_CHECKING:
    from pyutils.engine.commands import Package
    from pyutils.engine.split_task import SplitTask

    Trained = tuple[type[SplitTask], Any]


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
        say_unread(self.config, config)
        task = self.task_class(config)  # type: ignore[call-arg]
        try:
            self.package.load_parts().initialise(task.model, str(self.file), [])
        except InputError as error:
            raise InputError(
                f"{self.file}: cannot be loaded as {task.name}; give a checkpoint of it\n{error}"
            ) from error
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
    file = open_weights(source)
    path = Path(config_path) if config_path else file.with_name(CONFIG_FILE)
    if config_path and not path.is_file():
        raise InputError(f"{path}: no such configuration")
    tree = read_tree(path) if path.is_file() else {}
    named = str(tree.get("task") or published_task(source))
    package = _package(named.partition("_")[0], source, file)
    if tree.get("task"):
        task_class, config = _trained(package, path, named, member)
    else:
        task_class = package.task_named(named) if named else _task_for(pipeline, package, str(source))
        whole = path.is_file() and not has_model_only(path)
        config = load_config(task_class.config_class, path) if whole else recipe_config(package, task_class, file)
    _check_pipeline(pipeline, task_class, package, str(source))
    return OpenedCheckpoint(file, package, task_class, with_fields(config, settings or {}, "settings"))


def load_task(config_path: PathLike, overrides: Sequence[str] = ()) -> SplitTask:
    """Build the task of a configuration file, to be trained by `Trainer(task, task.config.train, folder).run()`.

    As its training script does it: parameter groups of the recipe, seed, initial weights.

    Args:
        config_path: a YAML file with `task`. overrides: "key=value", as for `--set`.

    Raises:
        InputError: a wrong configuration, missing data, or initial weights that do not fit.
    """
    from pyutils.engine.determinism import seed_initial
    from pyutils.engine.run import load_start

    path, packages = Path(config_path), announced(COMMANDS)
    named = str(read_tree(path).get("task") or "")
    if named.partition("_")[0] not in packages:
        raise InputError(f"{path}: expected `task`, such as albef_vqa, found {named!r}; take a recipe of configs/")
    package = packages[named.partition("_")[0]].load()
    overridden = tuple(Override.parse(text) for text in overrides)
    parts, task_class = package.load_parts(), package.task_named(named)
    command = next(command for command in package.commands if parts.tasks[command.script] is task_class)
    config = package.configure(Run(path, overridden), command, task_class.config_class)
    config = with_published_files(config, task_class, {override.key for override in overridden})
    seed_initial(config.train.seed)
    task = task_class(config)  # type: ignore[call-arg]
    load_start(task, config, parts.initialise, parts.start)
    return task


def open_weights(source: PathLike) -> Path:
    """Return the weight file that `source` names; of a published checkpoint, download what it is used with, too."""
    file = resolve_weights(source)
    if not Path(source).exists() and registry.known_name(str(source)):
        registry.download_files(str(source))
    return file


def published_task(source: PathLike) -> str:
    """Return the task that a published checkpoint was fine-tuned for, "" for any other."""
    known = registry.known_name(str(source))
    return registry.find(known).task if known and not Path(source).exists() else ""


def has_model_only(path: Path) -> bool:
    """Return True for a configuration that `save_pretrained` wrote: the sizes of a model, and no task."""
    return set(read_tree(path)) <= {"model"}


def recipe_config(package: Package, task_class: type[SplitTask], file: Path) -> Any:
    """Return the configuration of the task's recipe with the sizes of the weights in `file`.

    Raises:
        InputError: weights of another model.
    """
    tasks = package.load_parts().tasks
    recipe = next(command.recipe for command in package.commands if tasks[command.script] is task_class)
    config: Any = load_config(task_class.config_class, package.configs / recipe)
    io = announced(CHECKPOINTS)[package.name].load().PRETRAINED
    tensors, _ = io.read_tensors(file)
    return replace(config, model=io.config_for(object, file, tensors, config.model))


def _package(model: str, source: PathLike, file: Path) -> Package:
    """Return the package of a model, "albef", or else that of a known name or of the tensors in `file`."""
    packages = announced(COMMANDS)
    known = registry.known_name(str(source))
    if model not in packages and known and not Path(source).exists():
        model = registry.find(known).model
    return packages[model if model in packages else _model_of(file)].load()


def _model_of(file: Path) -> str:
    """Return the name of the model whose tensors `file` has. Raises InputError for a file of none."""
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


def _trained(package: Package, path: Path, named: str, member: str) -> Trained:
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
