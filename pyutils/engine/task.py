"""What the trainer knows about a model and its data: one class a task.

A task owns its model, its records, how records become a batch, the loss and the metrics. The engine owns everything
else (order of the data, devices, precision, optimizer steps, logs, checkpoints), so a new task needs no engine change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from pyutils.metrics.predictions import Predictions

if TYPE_CHECKING:
    import paddle

Batch = dict[str, "paddle.Tensor"]
State = Mapping[str, Union[np.ndarray, int, float, str]]
Rows = list[dict[str, Any]]


class Task(ABC):
    """One objective on one model.

    Attributes that a subclass sets:
        name: the task's name in logs and checkpoints, e.g. "vqa".
        model: the Layer that is trained and saved. Its parameters and persistable buffers are the checkpoint.
        best_metric: key of the predictions' metrics by which `best` is chosen; higher is better.
        find_unused_parameters: set True when some trainable parameter gets no gradient in some step (a head that the
            batch does not use); data parallel training then looks for it, which costs time in each step.
        config_text: the resolved configuration as YAML; saved as `config.yaml` in every checkpoint.
    """

    name: str
    model: paddle.nn.Layer
    best_metric: str
    find_unused_parameters: bool = False
    config_text: str = ""

    @abstractmethod
    def train_records(self) -> Any:
        """The records to train on: `len()` and `[i]`, cheap to send to a worker process (a `RecordTable`)."""

    @abstractmethod
    def eval_records(self, split: str) -> Sequence[Any]:
        """The records of an evaluation split; InputError names the known splits when `split` is none of them."""

    @abstractmethod
    def collate(self, records: list[Any], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """Make one batch of arrays from `records`, in a data worker: NumPy only, no Paddle call.

        Every random choice comes from `rng`, which depends on the seed and the place in the data alone, so that the
        number of workers changes nothing and a resumed run sees the same batches. The subclass documents its keys,
        shapes and dtypes; "index" is the engine's. Raise InputError, naming the record, for data the user can fix.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """The loss of one micro-batch (scalar, a mean over its records) and parts to log (scalars; names are logged).

        Runs under the configured precision and must go through `self.model`, so that gradients are synchronised.
        """

    @abstractmethod
    def predict(self, loader: Iterable[Batch], split: str) -> Predictions:
        """Predictions for a whole split, the same on every process; `metrics()` of a labelled split has `best_metric`.

        `loader` yields this process's share of the split, each record once; `batch["index"]` `[b]` int64 holds
        positions in `eval_records(split)`. `pyutils.engine.evaluation.predict_all` turns it into arrays of the whole
        split. The engine has put the model in eval mode and switched gradients off.
        """

    def labelled(self, split: str) -> bool:
        """Whether the records of `split` carry labels, so that its predictions have metrics."""
        return True

    def before_training(self) -> None:  # noqa: B027 - an optional hook
        """Called once, after weights and a resumed state are in place and before the first step."""

    def after_step(self, step: int) -> None:  # noqa: B027 - an optional hook
        """Called after each optimizer step; `step` counts from 1. Momentum twins and queues are updated here."""

    def state_dict(self) -> State:
        """What the task must keep for an exact resume beyond the model: flat arrays and numbers."""
        return {}

    def load_state_dict(self, state: State) -> None:  # noqa: B027 - an optional hook
        """Take back what `state_dict` gave."""

    def checkpoint_files(self) -> Sequence[Path]:
        """Files that travel with the weights so that a checkpoint predicts on its own: `vocab.txt`, answer lists."""
        return ()
