"""The commands of a model package: one `run_<task>.py` for every task, and `run_predict.py` for all of them.

COMMANDS = Package("visualbert", CONFIGS, load_initial, (Command("run_vqa2.py", "vqa2.yaml", vqa, VQA_FLAGS), …))
COMMANDS.train("run_vqa2.py")
COMMANDS.predict()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Optional

from pyutils.config.command_line import Flag, Run, run_main, standard_parser
from pyutils.config.recipes import find_recipe
from pyutils.errors import InputError

if TYPE_CHECKING:  # tasks import Paddle, which takes seconds: only a command that runs one pays for it
    from pyutils.engine.run import Initialise, RunConfig
    from pyutils.engine.split_task import SplitTask

DEVICE_FLAG = Flag("--device", None, choices=("cuda", "gpu", "cpu"), help="cpu leaves a GPU unused")


@dataclass(frozen=True)
class Command:
    """One training script.

    script: its file name. recipe: its default configuration, below the package's `configs`. task: imports and returns
    the task class. flags: those of this script beside the package's. about: one line of help.
    """

    script: str
    recipe: str
    task: Callable[[], type[SplitTask]]
    flags: Sequence[Flag] = ()
    about: str = ""


def plain_config(run: Run, command: Command, config_class: type[RunConfig]) -> RunConfig:
    """The configuration file with the command line over it."""
    return run.load(config_class)


@dataclass(frozen=True)
class Package:
    """The commands of one model package.

    name: "visualbert". configs: folder of its recipes. initialise: imports and returns the function that loads initial
    weights (`pyutils.engine.run.Initialise`). commands: one a training script. flags: what all of them take.
    configure: reads the configuration of a training; called as `configure(run, command, config_class)`.
    start: called with a new task before training where the configuration names no `init`.
    predict_flags: what `run_predict.py` takes beside the flags of every package.
    member: of a checkpoint of several tasks, the script and configuration of the one that the command line names;
        called as `member(run, config_file)`, None for other checkpoints.
    predict_about: its help. base_config: imports and returns the configuration that all tasks of the package share.
    """

    name: str
    configs: Path
    initialise: Callable[[], Initialise]
    commands: Sequence[Command]
    flags: Sequence[Flag] = ()
    configure: Callable[[Run, Command, Any], Any] = plain_config
    start: Optional[Callable[[Any], None]] = None
    predict_flags: Sequence[Flag] = ()
    member: Optional[Callable[[Run, Path], Optional[tuple[type[SplitTask], Any]]]] = None
    predict_about: str = ""
    base_config: Optional[Callable[[], type]] = None
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
        tasks = {task.name: task for task in (command.task() for command in self.commands)}
        name = self.task_aliases.get(name, name if name in tasks else f"{self.name}_{name}")
        if name not in tasks:
            raise InputError(f"task {name!r} is not one of {self.name}: {', '.join(sorted(tasks))}")
        return tasks[name]

    def run_training(self, command: Command, arguments: Optional[Sequence[str]], prog: str = "") -> None:
        """Train or evaluate as `arguments` say. `prog`: name of the program in its help, default the script's.

        Raises InputError for what the user can put right.
        """
        recipe = self.configs / command.recipe
        flags = [*self.flags, DEVICE_FLAG, *command.flags]
        name = prog or command.script
        parser = standard_parser(name, recipe, flags, lambda: command.task().config_class, command.about)
        run = self._with_recipe(parser.parse(arguments))
        from pyutils.engine.run import choose_device, run_task

        task_class = command.task()
        choose_device(run)
        config = self.configure(run, command, task_class.config_class)
        run_task(run, config, task_class, self.initialise(), self.start)

    def run_prediction(self, arguments: Optional[Sequence[str]], prog: str = "run_predict.py") -> None:
        """Predict as `arguments` say. `prog`: name of the program in its help.

        Raises InputError for what the user can put right.
        """
        from pyutils.engine.predict import FLAGS, predict

        parser = standard_parser(
            prog,
            None,
            [*FLAGS, DEVICE_FLAG, *self.predict_flags],
            self.base_config,
            self.predict_about,
            without=("--seed", "--resume", "--evaluate", "--output_dir"),
        )
        run = self._with_recipe(parser.parse(arguments))
        predict(run, self.task_named, self.initialise(), self.member)

    def _with_recipe(self, run: Run) -> Run:
        """Return `run` with the file of a recipe that `--config` names (`pyutils.config.recipes.find_recipe`)."""
        return run if run.config_path is None else replace(run, config_path=find_recipe(run.config_path, self.configs))
