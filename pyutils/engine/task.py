"""Interface between the engine and a model with its data: one class per task.

A task owns model, records, batches, loss and metrics. The engine owns the rest (data order, devices, precision,
optimizer steps, logs, checkpoints), so a new task needs no engine change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Union

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
        model: the Layer that is trained; its parameters and persistable buffers are saved.
        best_metric: key of the metrics that selects `best`; higher is better.
        find_unused_parameters: True if some trainable parameter gets no gradient in some step (a head that the batch
            does not use); costs time in each step of data parallel training.
        pipelines: name of a pipeline (`pyutils.pipeline`) → method that answers its examples, called as
            `method(task, examples, top)` (retrieval: `method(task, chunks)`); `run_predict.py` answers with the first.
        file_keys: configuration keys that name `checkpoint_files`, in their order.
        config_text: the resolved configuration as YAML; `config.yaml` in every checkpoint.
    """

    name: str
    model: paddle.nn.Layer
    best_metric: str
    find_unused_parameters: bool = False
    pipelines: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    file_keys: tuple[str, ...] = ()
    config_text: str = ""

    @abstractmethod
    def train_records(self) -> Any:
        """Return the training records: `len()` and `[i]`, cheap to send to a worker process (a `RecordTable`)."""

    @abstractmethod
    def eval_records(self, split: str) -> Sequence[Any]:
        """Return the records of an evaluation split. Raises InputError, with the known splits, for an unknown one."""

    @abstractmethod
    def collate(self, records: list[Any], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """Make one batch of arrays from `records`, in a data worker: NumPy only, no Paddle call.

        All random choices come from `rng`, which depends only on the seed and the position in the data: batches do not
        depend on the number of workers, and a resumed run gets the same ones. The subclass documents its keys, shapes
        and dtypes; "index" is the engine's. Raise InputError, with the record, for data that the user can fix.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """Return the loss of one micro-batch (scalar, a mean over its records) and named scalars to log.

        Runs under the configured precision. Must use `self.model`, so that gradients are synchronised.
        """

    @abstractmethod
    def predict(self, loader: Iterable[Batch], split: str) -> Predictions:
        """Return the predictions for a split, equal on every process; their metrics include `best_metric` with labels.

        `loader` yields the part of the split of this process, each record once; `batch["index"]` `[b]` int64 indexes
        `eval_records(split)`. `pyutils.engine.evaluation.predict_all` gathers outputs over all processes. The model
        is in eval mode, without gradients.
        """

    def labelled(self, split: str) -> bool:
        """Return True if `split` has labels, so that its predictions have metrics."""
        return True

    def before_training(self) -> None:  # noqa: B027 - an optional hook
        """Called once before the first step, after weights and a resumed state are loaded."""

    def after_step(self, step: int) -> None:  # noqa: B027 - an optional hook
        """Called after each optimizer step, counted from 1: update EMA teachers and queues."""

    def state_dict(self) -> State:
        """Return the state for an exact resume beyond the model: flat arrays and numbers."""
        return {}

    def load_state_dict(self, state: State) -> None:  # noqa: B027 - an optional hook
        """Restore a state of `state_dict`."""

    def checkpoint_files(self) -> Sequence[Path]:
        """Return files saved with the weights, so that a checkpoint is complete: `vocab.txt`, answer lists."""
        return ()

    def checkpoint_texts(self) -> Mapping[str, str]:
        """Return further texts saved with the weights: file name → content."""
        return {}
