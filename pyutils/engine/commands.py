"""Command tables of a model package: one `run_<task>.py` per task, and one `run_predict.py` for all of them.

COMMANDS = Package("visualbert", CONFIGS, load_parts, (Command("run_vqa2.py", "vqa2.yaml", VQA_FLAGS), …))
COMMANDS.train("run_vqa2.py")
COMMANDS.predict()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Optional

from pyutils.config.command_line import Flag, Run, positive, run_main, standard_parser
from pyutils.config.recipes import find_recipe
from pyutils.errors import InputError

if TYPE_CHECKING:  # tasks import Paddle, which takes seconds: only a command that runs one pays for it
    from pyutils.engine.run import Initialise, RunConfig
    from pyutils.engine.split_task import SplitTask

DEVICES = ("cuda", "gpu", "cpu")
DEVICE_FLAG = Flag("--device", None, choices=DEVICES, help="cpu leaves a GPU unused")

PREDICTION_FLAGS = (
    Flag("--checkpoint", None, help="checkpoint directory, output directory of a run, weight file, or a known name"),
    Flag("--task", None, help="task of a checkpoint whose configuration names none"),
    Flag("--split", None, help="predict a split of the configuration and write result files"),
    Flag(("--image", "--left"), None, help="image of one example: a file, or a key of the region features"),
    Flag(("--second_image", "--right"), None, help="second image of one example (NLVR2)"),
    Flag(("--text", "--question", "--sentence", "--expression"), None, help="text of one example"),
    Flag("--top", None, type=positive, help="answers or regions to print (default 5)"),
    Flag(("--output", "--output_dir"), None, help="directory for result files (default: <run>/<split>)"),
)
"""Those of every `run_predict.py`."""


@dataclass(frozen=True)
class Parts:
    """What a package's commands run; importing it imports Paddle.

    tasks: training script → task class. run_config: the configuration that all tasks of the package share.
    initialise: loads initial weights (`pyutils.engine.run.Initialise`).
    start: called with a new task before training, after `init` was loaded.
    """

    tasks: Mapping[str, type[SplitTask]]
    run_config: type
    initialise: Initialise
    start: Optional[Callable[[Any], None]] = None


@dataclass(frozen=True)
class Command:
    """One training script.

    script: file name. recipe: default configuration, in the package's `configs`. flags: those of this script only.
    about: one line of help.
    """

    script: str
    recipe: str
    flags: Sequence[Flag] = ()
    about: str = ""


def plain_config(run: Run, command: Command, config_class: type[RunConfig]) -> RunConfig:
    """Load the configuration file with the command line over it."""
    return run.load(config_class)


@dataclass(frozen=True)
class Package:
    """The commands of one model package.

    name: "visualbert". configs: directory of its recipes. load_parts: imports and returns `Parts`; called only by a
    command that needs them, as importing Paddle takes seconds. commands: one per training script.
    flags: those of every training script. configure: loads the configuration of a training;
        called as `configure(run, command, config_class)`.
    predict_flags: those of `run_predict.py` that only this package has. predict_about: its help.
    member: for a multi-task checkpoint, the task class and configuration of the task that the command line names;
        called as `member(run, config_file)`; None for other checkpoints.
    task_aliases: other names of tasks in checkpoints → names.
    """

    name: str
    configs: Path
    load_parts: Callable[[], Parts]
    commands: Sequence[Command]
    flags: Sequence[Flag] = ()
    configure: Callable[[Run, Command, Any], Any] = plain_config
    predict_flags: Sequence[Flag] = ()
    predict_about: str = ""
    member: Optional[Callable[[Run, Path], Optional[tuple[type[SplitTask], Any]]]] = None
    task_aliases: Mapping[str, str] = field(default_factory=dict)

    def train(self, script: str, arguments: Optional[Sequence[str]] = None) -> NoReturn:
        """Run the training script `script` with the program's arguments and exit."""
        command = next(command for command in self.commands if command.script == script)
        run_main(lambda: self.run_training(command, arguments))

    def predict(self, arguments: Optional[Sequence[str]] = None) -> NoReturn:
        """Run `run_predict.py` with the program's arguments and exit."""
        run_main(lambda: self.run_prediction(arguments))

    def task_named(self, name: str) -> type[SplitTask]:
        """The task class of a checkpoint's `task`, with or without the package's name ("vqa") or under one of
        `task_aliases`. Raises InputError, naming the known ones, for another."""
        tasks = {task.name: task for task in self.load_parts().tasks.values()}
        name = self.task_aliases.get(name, name if name in tasks else f"{self.name}_{name}")
        if name not in tasks:
            raise InputError(f"task {name!r} is not one of {self.name}: {', '.join(sorted(tasks))}")
        return tasks[name]

    def run_training(self, command: Command, arguments: Optional[Sequence[str]], prog: str = "") -> None:
        """Train or evaluate as `arguments` say. `prog`: name of the program in its help, default the script's.

        Raises InputError for what the user can put right.
        """
        recipe, flags = self.configs / command.recipe, [*self.flags, DEVICE_FLAG, *command.flags]
        name = prog or command.script
        parser = standard_parser(name, recipe, flags, lambda: self._task(command).config_class, command.about)
        run = self._with_recipe(parser.parse(arguments))
        from pyutils.engine.published_files import with_published_files
        from pyutils.engine.run import choose_device, run_task

        parts, task = self.load_parts(), self._task(command)
        choose_device(run)
        typed = {override.key for override in run.overrides}
        config = with_published_files(self.configure(run, command, task.config_class), task, typed)
        run_task(run, config, task, parts.initialise, parts.start)

    def _task(self, command: Command) -> type[SplitTask]:
        return self.load_parts().tasks[command.script]

    def run_prediction(self, arguments: Optional[Sequence[str]], prog: str = "run_predict.py") -> None:
        """Predict as `arguments` say. `prog`: name of the program in its help.

        Raises InputError for what the user can put right.
        """
        parser = standard_parser(
            prog,
            None,
            [*PREDICTION_FLAGS, DEVICE_FLAG, *self.predict_flags],
            lambda: self.load_parts().run_config,
            self.predict_about,
            without=("--seed", "--resume", "--evaluate", "--output_dir", "--print_config"),
        )
        run = self._with_recipe(parser.parse(arguments))
        from pyutils.engine.opening import recipe_config
        from pyutils.engine.predict import predict

        parts = self.load_parts()
        predict(run, self.task_named, parts.initialise, self.member, partial(recipe_config, self))

    def _with_recipe(self, run: Run) -> Run:
        """Return `run` with the file of a recipe that `--config` names (`pyutils.config.recipes.find_recipe`)."""
        return run if run.config_path is None else replace(run, config_path=find_recipe(run.config_path, self.configs))
