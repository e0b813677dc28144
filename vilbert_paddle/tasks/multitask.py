"""Several tasks on one encoder, with dynamic stop-and-go (12-in-1, arXiv 1912.02315, sections 3.2 and 4.1).

A step adds up the losses of a batch of every task. A task whose validation score has converged rests: it takes part in
every `every_when_resting`-th step only, until its score falls.
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
from pyutils.data.features.spec import FeatureSpec
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
    config: str = setting("", "The task's own YAML, for its data; network and training are those of the run.")
    share: int = setting(1, "1: as many records a batch as train.batch_size; 4: a quarter of that.")
    weight: float = setting(1.0, "Factor on the task's loss.")
    tasks_file: str = setting("", "A vilbert_tasks.yml whose entry overrides `config`; empty: none.")
    tasks_entry: str = setting("", "The entry of `tasks_file`, e.g. TASK10.")

    def load(self, overrides: Iterable[Override] = ()) -> VilbertRunConfig:
        """Load the task's own configuration."""
        given: list[Override] = []
        if self.tasks_file:
            given = read_tasks(self.tasks_file, self.tasks_entry)[0].overrides()
        return load_config(TASKS[self.task].config_class, recipe_path(self.config), (*given, *overrides))


@dataclass(frozen=True)
class StopAndGoConfig:
    """The `stop_and_go:` section: see `pyutils.schedule.StopAndGo`."""

    enabled: bool = setting(True, "False: all tasks train all the time.")
    patience: int = setting(1, "Scores without improvement after which a task rests.")
    threshold: float = setting(1e-3, "Relative gain that counts as an improvement.")
    continue_threshold: float = setting(5e-3, "Relative drop below the best score at which a task resumes.")
    cooldown: int = setting(1, "Scores after a change during which bad ones do not count.")
    every_when_resting: int = setting(4, "A resting task takes part in every n-th step.")


@dataclass(frozen=True)
class MultitaskRunConfig(VilbertRunConfig):
    """Configuration of run_multitask.py. `regions` and `max_text` are the tasks' own."""

    tasks: dict[str, Member] = setting({}, "Name -> task, its configuration, its share.")
    stop_and_go: StopAndGoConfig = setting(StopAndGoConfig, "When a task rests.")


_OUTSIDE_RULE = ("enabled", "every_when_resting")  # settings of this task, not of `StopAndGo`


class Part(NamedTuple):
    """A task of a multi-task run."""

    task: VilbertTask
    member: Member
    rule: StopAndGo


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

    def conditions(self) -> dict[str, Any]:
        """Return the conditions of every task that has some, by its name."""
        return {name: found for name, part in self.parts.items() if (found := part.conditions())}

    def write(self, directory: Path) -> list[Path]:
        """Write every task's result files into a directory of its name."""
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
            raise InputError(f"tasks is empty: list some of {', '.join(TASKS)}, each with its configuration")
        self.parts: dict[str, Part] = {}
        for name, member in config.tasks.items():
            own = member_config(config, name, member)
            # The heads are known once every task has read its answer list; the shared network is built afterwards.
            task = TASKS[member.task](own, model=nn.Layer())
            own_rule = {key: value for key, value in vars(config.stop_and_go).items() if key not in _OUTSIDE_RULE}
            self.parts[name] = Part(task, member, StopAndGo(**own_rule))
            self.config = replace(config, task=self.name, model=task.config.model)
        self.model = task_network(self.config, self._outputs())
        for part in self.parts.values():
            part.task.model = self.model
        self.config_text = to_yaml(self.config)
        self._step, self._training = 0, False
        self._records: dict[str, Sequence[Any]] = {}

    @classmethod
    def heads_of(cls, config: MultitaskRunConfig) -> list[str]:
        """Return the names of all heads of all tasks."""
        members = [(member, member_config(config, name, member)) for name, member in config.tasks.items()]
        return sorted({head for member, own in members for head in TASKS[member.task].heads_of(own)})

    def _outputs(self) -> dict[str, int | None]:
        """Head -> number of outputs. Raises InputError if two tasks need different sizes of one head."""
        outputs: dict[str, int | None] = {}
        for name, part in self.parts.items():
            for head, size in part.task.outputs.items():
                if outputs.setdefault(head, size) != size:
                    raise InputError(f"tasks.{name}: head {head!r} has {size} outputs, {outputs[head]} in another task")
        return outputs

    def train_records(self) -> range:
        """Indices of the largest task's records; smaller tasks repeat theirs."""
        self._records = {name: part.task.train_records() for name, part in self.parts.items()}
        return range(max(map(len, self._records.values())))

    def eval_records(self, split: str) -> range:
        """Indices of the largest task's records; evaluation reads the tasks' own."""
        return range(max(len(part.task.eval_records(split)) for part in self.parts.values()))

    def collate(self, records: list[int], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """Collate a batch of every task; `records` are indices of `train_records`."""
        batch: dict[str, np.ndarray] = {}
        for name, part in self.parts.items():
            own = self._records[name]
            chosen = [own[index % len(own)] for index in records[:: part.member.share]]
            arrays = part.task.collate(chosen, rng, training)
            batch.update({f"{name}/{key}": array for key, array in arrays.items()})
        return batch

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """Add up the losses of the tasks that take part in this step."""
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
        return not part.rule.stopped or self._step % every == 0 or all(p.rule.stopped for p in self.parts.values())

    def before_training(self) -> None:
        """Check the data of every task; let evaluations decide which tasks rest from now on."""
        for part in self.parts.values():
            part.task.check_training_data()
        self._training = True

    def after_step(self, step: int) -> None:
        """Remember the step, which decides if resting tasks take part."""
        self._step = step

    def predict(self, loader: Iterable[Batch], split: str) -> MultitaskPredictions:
        """Predict with every task on its own records of `split`; `loader` is not used."""
        found = {
            name: part.task.predict(split_loader(part.task, self.config.train, split), split)
            for name, part in self.parts.items()
        }
        predictions = MultitaskPredictions(found, {name: part.task.best_metric for name, part in self.parts.items()})
        if self._training and self.config.stop_and_go.enabled:
            for name, score in predictions.scores.items():
                rule = self.parts[name].rule
                before = rule.stopped
                if rule.observe(score) != before:
                    say(f"{name} {'rests' if rule.stopped else 'resumes'} at {score:.2f} (best {rule.best:.2f})")
        return predictions

    def labelled(self, split: str) -> bool:
        return all(part.task.labelled(split) for part in self.parts.values())

    def state_dict(self) -> State:
        """The step, the stop-and-go counters and the own state of every task."""
        state: dict[str, Any] = {"step": self._step}
        for name, part in self.parts.items():
            counters = {key: value for key, value in part.rule.state_dict().items() if value is not None}
            state.update({f"{name}/pace/{key}": value for key, value in counters.items()})
            state.update({f"{name}/task/{key}": value for key, value in part.task.state_dict().items()})
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._step = int(state["step"])
        for name, part in self.parts.items():
            counters, own = (_under(state, f"{name}/{kind}/") for kind in ("pace", "task"))
            part.rule.load_state_dict({item.name: counters.get(item.name) for item in fields(part.rule)})
            if own:
                part.task.load_state_dict(own)

    def checkpoint_files(self) -> Sequence[Path]:
        """The files of all tasks."""
        return tuple(dict.fromkeys(path for part in self.parts.values() for path in part.task.checkpoint_files()))

    def region_spec(self) -> FeatureSpec | None:
        """The description that all tasks share; None if they read different features."""
        specs = {part.task.region_spec() for part in self.parts.values()}
        return specs.pop() if len(specs) == 1 else None


def member_config(config: MultitaskRunConfig, name: str, member: Member) -> VilbertRunConfig:
    """Load a task's configuration: its own data, the run's network and training. Raises InputError for an unknown task,
    or a share that does not divide the batch."""
    if member.task not in TASKS:
        raise InputError(f"tasks.{name}.task: unknown task {member.task!r}: {nearest(member.task, TASKS)}")
    if member.share < 1 or config.train.batch_size % member.share:
        raise InputError(
            f"tasks.{name}.share is {member.share}: expected a divisor of train.batch_size {config.train.batch_size}"
        )
    own = member.load()
    shared: dict[str, Any] = {"model": config.model, "train": config.train, "tokenizer": config.tokenizer}
    return replace(own, **shared, head_dropout=config.head_dropout)


def _under(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
