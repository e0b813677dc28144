"""Exact evaluation with any number of processes: every record once, no padding duplicates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Union

import numpy as np
import paddle

from pyutils import distributed
from pyutils.console import progress
from pyutils.data.loader import Loader, eval_loader
from pyutils.data.order import EvalOrder
from pyutils.engine.precision import autocast
from pyutils.engine.settings import TrainConfig
from pyutils.engine.task import Task
from pyutils.errors import InputError
from pyutils.metrics.predictions import Predictions

Batch = dict[str, paddle.Tensor]
Collate = Callable[..., "dict[str, np.ndarray]"]
Predict = Callable[[Batch], Mapping[str, Any]]
Column = Union[np.ndarray, "list[Any]"]


@contextmanager
def evaluating(model: paddle.nn.Layer) -> Iterator[None]:
    """Evaluation mode without gradients; restores the mode of each sublayer afterwards."""
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    model.eval()
    try:
        with paddle.no_grad():
            yield
    finally:
        for layer, training in modes:
            layer.training = training


def split_loader(task: Task, cfg: TrainConfig, split: str, collate: Collate | None = None) -> Loader:
    """Return the batches of `split` for this process, collated by `collate` (default: the task's).

    Raises:
        InputError: the split is unknown or empty.
    """
    records = task.eval_records(split)
    batch_size = cfg.eval_batch_size or cfg.batch_size
    order = EvalOrder(len(records), batch_size, distributed.world_size(), distributed.rank())
    return eval_loader(records, collate or task.collate, order, split, cfg.workers)


def predict_split(task: Task, cfg: TrainConfig, split: str, collate: Collate | None = None) -> Any:
    """Return the predictions for `split` with the current weights, equal on every process; all must call it.

    `collate` replaces the task's own.

    Raises:
        InputError: the split is unknown or empty.
    """
    loader = split_loader(task, cfg, split, collate)
    with evaluating(task.model), autocast(cfg.precision):
        return task.predict(progress(loader, f"predict {split}"), split)


def evaluate(task: Task, cfg: TrainConfig, split: str) -> tuple[dict[str, float], Predictions]:
    """Return the metrics of `split` with the current weights, and the predictions; equal on every process.

    Raises:
        InputError: the split is unknown, empty or without labels.
    """
    check_labelled(task, split)
    predictions = predict_split(task, cfg, split)
    return {name: float(value) for name, value in predictions.metrics().items()}, predictions


def check_labelled(task: Task, split: str) -> None:
    """Raise InputError if `split` has no labels to evaluate with."""
    if not task.labelled(split):
        raise InputError(
            f"split {split!r} has no labels, so {task.best_metric} of {task.name} cannot be computed; "
            f"run_predict.py --split {split} writes its result files"
        )


def predict_all(predict: Predict, loader: Iterable[Batch]) -> dict[str, Any]:
    """Run `predict` on every batch and gather its outputs over all processes, in the order of the records.

    Args:
        predict: batch -> {name: value per record}. A value is a tensor or array [b, …], or a list of b objects
            (arrays of any shapes, strings).
        loader: batches of this process with "index" [b] int64.
    Returns (on every process):
        "index" [n] int64 = 0 … n-1 and every name as an array [n, …] or a list of n.
    Raises:
        RuntimeError: a record was predicted twice or not at all, or a value has other than b entries.
    """
    own: list[tuple[np.ndarray, dict[str, Column]]] = []
    for batch in loader:
        index = batch["index"].numpy()
        own.append((index, {name: _to_host(value) for name, value in predict(batch).items()}))
    pieces = [piece for rank_pieces in distributed.all_gather_objects(own) for piece in rank_pieces]
    return _joined(pieces)


def _joined(pieces: list[tuple[np.ndarray, dict[str, Column]]]) -> dict[str, Column]:
    """Return all pieces as one column per name, sorted by index."""
    index = np.concatenate([piece[0] for piece in pieces]) if pieces else np.zeros(0, dtype=np.int64)
    order = np.argsort(index, kind="stable")
    lengths = {(name, len(value), len(part)) for part, outputs in pieces for name, value in outputs.items()}
    misfits = [f"{name} has {found} entries for {count} records" for name, found, count in lengths if found != count]
    if misfits or not np.array_equal(index[order], np.arange(len(index))):
        raise RuntimeError("; ".join(["some records were gathered more than once or not at all", *misfits]))
    columns: dict[str, Column] = {"index": index[order]}
    for name in pieces[0][1] if pieces else ():
        values = [outputs[name] for _, outputs in pieces]
        if isinstance(values[0], list):
            flat = [item for value in values for item in value]
            columns[name] = [flat[position] for position in order]
        else:
            columns[name] = np.concatenate(values)[order]
    return columns


def _to_host(value: Any) -> Column:
    """Convert a tensor to an array (bfloat16 to float32), another sequence to a list."""
    if isinstance(value, paddle.Tensor):
        return (value.astype("float32") if value.dtype == paddle.bfloat16 else value).numpy()
    return value if isinstance(value, (np.ndarray, list)) else list(value)
