"""Several tasks on one encoder, with dynamic stop-and-go (12-in-1, arXiv 1912.02315, sections 3.2 and 4.1).

A step takes a batch of every task, and adds up their losses. A task whose validation score no longer grows rests: it
takes part in every `every_when_resting`-th step only, until its score falls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
from paddle import nn

from pyutils.config import Override, load_config, setting, to_yaml
from pyutils.config.recipes import find_recipe
from pyutils.console import say
from pyutils.engine.evaluation import split_loader
from pyutils.engine.task import Batch, State, Task
from pyutils.errors import InputError, nearest
from pyutils.metrics.predictions import Predictions
from pyutils.schedule import StopAndGo
from vilbert_paddle.config import CONFIGS
from vilbert_paddle.originals import read_tasks
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, task_network
from vilbert_paddle.tasks.entailment import EntailmentTask
from vilbert_paddle.tasks.nlvr2 import NLVR2Task
from vilbert_paddle.tasks.refer import ReferTask
from vilbert_paddle.tasks.retrieval import RetrievalTask
from vilbert_paddle.tasks.vcr import VCRTask
from vilbert_paddle.tasks.vqa import VQATask

TASKS: dict[str, type[VilbertTask]] = {
    "refer": ReferTask,
    "vqa": VQATask,
    "retrieval": RetrievalTask,
    "nlvr2": NLVR2Task,
    "ve": EntailmentTask,
    "vcr": VCRTask,
}


def recipe_path(name: str) -> Path:
    """The configuration file `name`, relative to the folder the program runs in; what is not there may be one of the
    repository's, as the recipes name each other."""
    return find_recipe(Path(name), CONFIGS)


@dataclass(frozen=True)
class Member:
    """One task of a multi-task run."""

    task: str = setting("", "refer, vqa, retrieval, nlvr2, ve or vcr.")
    config: str = setting("", "The task's own YAML; its data is read, its network and training are not.")
    share: int = setting(1, "1: as many records a batch as train.batch_size; 4: a quarter of that.")
    weight: float = setting(1.0, "Factor on the task's loss.")
    tasks_file: str = setting("", "A vilbert_tasks.yml whose entry is put over `config`; empty: none.")
    tasks_entry: str = setting("", "The entry of `tasks_file`, e.g. TASK10.")

    def load(self, overrides: Iterable[Override] = ()) -> VilbertRunConfig:
        """The task's own configuration. InputError for a task that `TASKS` does not have."""
        given: list[Override] = []
        if self.tasks_file:
            given = read_tasks(self.tasks_file, self.tasks_entry)[0].overrides()
        return load_config(TASKS[self.task].config_class, recipe_path(self.config), (*given, *overrides))


@dataclass(frozen=True)
class StopAndGoConfig:
    """The `stop_and_go:` section: see `pyutils.schedule.StopAndGo`."""

    enabled: bool = setting(True, "False: all tasks train all the time.")
    patience: int = setting(1, "Scores without a gain after which a task rests.")
    threshold: float = setting(1e-3, "Relative gain that counts.")
    continue_threshold: float = setting(5e-3, "Relative loss under the best score at which a task goes on.")
    cooldown: int = setting(1, "Scores after a change in which bad ones do not count.")
    every_when_resting: int = setting(4, "A resting task takes part in every so many steps.")


@dataclass(frozen=True)
class MultitaskRunConfig(VilbertRunConfig):
    """Configuration of run_multitask.py. `regions` and `max_text` are the tasks' own."""

    tasks: dict[str, Member] = setting({}, "Name -> task, its configuration, its share.")
    stop_and_go: StopAndGoConfig = setting(StopAndGoConfig, "When a task rests.")


class Rounds(Sequence[int]):
    """The places 0 … n - 1 of an epoch of rounds; n is the size of the largest task, so that smaller ones repeat."""

    def __init__(self, lengths: Iterable[int]) -> None:
        self._length = max(lengths)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index):
        if not 0 <= index < self._length:
            raise IndexError(f"place {index} of {self._length}")
        return int(index)


class Part(NamedTuple):
    """A task at work in a multi-task run."""

    task: VilbertTask
    member: Member
    pace: StopAndGo


class MultitaskPredictions(Predictions):
    """Predictions of every task by its name; `best`: name -> the key of its best metric."""

    def __init__(self, parts: dict[str, Predictions], best: dict[str, str]):
        self.parts = parts
        self._metrics = {name: part.metrics() for name, part in parts.items()}
        self.scores = {name: found[best[name]] for name, found in self._metrics.items()}

    def metrics(self) -> dict[str, float]:
        """`NAME/metric` of every task, and `mean`, the mean of their best metrics."""
        every = {f"{name}/{key}": value for name, found in self._metrics.items() for key, value in found.items()}
        return {**every, "mean": float(np.mean(list(self.scores.values())))}

    def write(self, directory: Path) -> list[Path]:
        """Write every task's result files into a folder of its name."""
        return [file for name, part in self.parts.items() for file in part.write(directory / name)]


class MultitaskTask(Task):
    """Batches: the arrays of every task under "NAME/…". Metrics: every task's own under "NAME/…", and `mean`, the mean
    of their best metrics."""

    name = "vilbert_multitask"
    best_metric = "mean"
    find_unused_parameters = True
    config_class = MultitaskRunConfig

    def __init__(self, config: MultitaskRunConfig):
        if not config.tasks:
            raise InputError(f"tasks is empty: name some of {', '.join(TASKS)}, each with its configuration")
        self.parts: dict[str, Part] = {}
        for name, member in config.tasks.items():
            own = member_config(config, name, member)
            # Heads are known once every task has read its answer list: the shared network is made afterwards.
            task = TASKS[member.task](own, model=nn.Layer())
            self.parts[name] = Part(task, member, pace_of(config.stop_and_go))
            self.config = replace(config, task=self.name, model=task.config.model)
        self.model = task_network(self.config, self._outputs())
        for part in self.parts.values():
            part.task.model = self.model
        self.config_text = to_yaml(self.config)
        self._step, self._training = 0, False
        self._records: dict[str, Sequence[Any]] = {}

    @classmethod
    def heads_of(cls, config: MultitaskRunConfig) -> list[str]:
        """Names of all heads of all tasks."""
        members = [(member, member_config(config, name, member)) for name, member in config.tasks.items()]
        return sorted({head for member, own in members for head in TASKS[member.task].heads_of(own)})

    def _outputs(self) -> dict[str, int | None]:
        """Head -> number of outputs. InputError when two tasks want one head in different sizes."""
        outputs: dict[str, int | None] = {}
        for name, part in self.parts.items():
            for head, size in part.task.outputs.items():
                if outputs.setdefault(head, size) != size:
                    raise InputError(f"tasks.{name}: head {head!r} has {size} outputs here, {outputs[head]} elsewhere")
        return outputs

    def train_records(self) -> Rounds:
        """See `Rounds`."""
        self._records = {name: part.task.train_records() for name, part in self.parts.items()}
        return Rounds(len(records) for records in self._records.values())

    def eval_records(self, split: str) -> Rounds:
        """Evaluation goes through the tasks' own records; this tells how many the largest split has."""
        return Rounds(len(part.task.eval_records(split)) for part in self.parts.values())

    def collate(self, records: list[int], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """See the class for the batch; `records` are places of `Rounds`."""
        batch: dict[str, np.ndarray] = {}
        for name, part in self.parts.items():
            own = self._records[name]
            places = records[:: part.member.share]
            arrays = part.task.collate([own[place % len(own)] for place in places], rng, training)
            batch.update({f"{name}/{key}": array for key, array in arrays.items()})
        return batch

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """See Task. Resting tasks are left out, but for every so many steps."""
        logs: dict[str, paddle.Tensor] = {}
        total = paddle.zeros([])
        for name, part in self.parts.items():
            if not self._takes_part(part):
                continue
            own = {key[len(name) + 1 :]: value for key, value in batch.items() if key.startswith(f"{name}/")}
            logs[name], _ = part.task.loss(own)
            total = total + part.member.weight * logs[name]
        return total, logs

    def _takes_part(self, part: Part) -> bool:
        every = self.config.stop_and_go.every_when_resting
        return not part.pace.stopped or self._step % every == 0 or all(p.pace.stopped for p in self.parts.values())

    def before_training(self) -> None:
        """From here on an evaluation moves the tasks' pace."""
        self._training = True

    def after_step(self, step: int) -> None:
        """See Task."""
        self._step = step

    def predict(self, loader: Iterable[Batch], split: str) -> MultitaskPredictions:
        """See the class. Every task reads its own records of `split`; `loader` is not used."""
        found = {
            name: part.task.predict(split_loader(part.task, self.config.train, split), split)
            for name, part in self.parts.items()
        }
        predictions = MultitaskPredictions(found, {name: part.task.best_metric for name, part in self.parts.items()})
        if self._training and self.config.stop_and_go.enabled:
            for name, score in predictions.scores.items():
                self._observe(name, score)
        return predictions

    def labelled(self, split: str) -> bool:
        """See Task."""
        return all(part.task.labelled(split) for part in self.parts.values())

    def _observe(self, name: str, score: float) -> None:
        pace = self.parts[name].pace
        before = pace.stopped
        if pace.observe(score) != before:
            say(f"{name} {'rests' if pace.stopped else 'goes on'} at {score:.2f} (best {pace.best:.2f})")

    def state_dict(self) -> State:
        """The step, the pace of every task, and what tasks keep themselves."""
        state: dict[str, Any] = {"step": self._step}
        for name, part in self.parts.items():
            pace = {key: value for key, value in part.pace.state_dict().items() if value is not None}
            state.update({f"{name}/pace/{key}": value for key, value in pace.items()})
            state.update({f"{name}/task/{key}": value for key, value in part.task.state_dict().items()})
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Task."""
        self._step = int(state["step"])
        for name, part in self.parts.items():
            pace, own = (_under(state, f"{name}/{kind}/") for kind in ("pace", "task"))
            part.pace.load_state_dict({item.name: pace.get(item.name) for item in fields(part.pace)})
            if own:
                part.task.load_state_dict(own)

    def checkpoint_files(self) -> Sequence[Path]:
        """The files of all tasks."""
        return tuple(dict.fromkeys(path for part in self.parts.values() for path in part.task.checkpoint_files()))


def member_config(config: MultitaskRunConfig, name: str, member: Member) -> VilbertRunConfig:
    """The configuration of a task: its own data, the run's network and training. InputError for an unknown task, or a
    share that does not divide the batch."""
    if member.task not in TASKS:
        raise InputError(f"tasks.{name}.task: unknown task {member.task!r}: {nearest(member.task, TASKS)}")
    if member.share < 1 or config.train.batch_size % member.share:
        raise InputError(
            f"tasks.{name}.share is {member.share}: expected a divisor of train.batch_size {config.train.batch_size}"
        )
    own = member.load()
    shared: dict[str, Any] = {"model": config.model, "train": config.train, "tokenizer": config.tokenizer}
    return replace(own, **shared, head_dropout=config.head_dropout)


def pace_of(config: StopAndGoConfig) -> StopAndGo:
    """A task's pace at the start."""
    settings = {item.name: getattr(config, item.name) for item in fields(config)}
    return StopAndGo(**{key: value for key, value in settings.items() if key not in ("enabled", "every_when_resting")})


def _under(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
