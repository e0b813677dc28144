"""Batches for training and evaluation: collated batches read through `paddle.io.DataLoader`.

The items of the dataset are batches, not records. So data workers collate, a batch passes through shared memory as a
few large arrays, and a loader can start at any batch without reading the earlier ones.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import paddle

from pyutils.compat import stop_data_workers
from pyutils.data.order import EvalOrder, TrainOrder
from pyutils.errors import InputError
from pyutils.runtime import STOP_SIGNALS, end_with_parent

Collate = Callable[[list[Any], np.random.Generator, bool], dict[str, np.ndarray]]

_FAILURE = "__failure__"
_EMPTY = "__empty__"
_SHARED_MEMORY = "/dev/shm"
_LEAST_SHARED_BYTES_A_WORKER = 16 << 20
_BATCHES_AHEAD = 2


class Batches(paddle.io.Dataset):
    """Batches `start … stop - 1` of an order as a map-style dataset; item `i` is batch `start + i`.

    An exception in a worker is sent to the training process in place of the batch; `Loader` raises it there, with the
    record's position.
    """

    def __init__(
        self,
        records: Sequence[Any],
        collate: Collate,
        order: TrainOrder | EvalOrder,
        start: int,
        stop: int,
        what: str,
        workers: int,
    ):
        super().__init__()
        self._records, self._collate, self._order = records, collate, order
        self._start, self._stop, self._what, self._workers = start, max(start, stop), what, workers
        self._training = isinstance(order, TrainOrder)

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, item: int) -> dict[str, np.ndarray]:
        try:
            arrays = self._make(self._start + item)
            if self._workers:
                size = sum(array.nbytes for array in arrays.values())
                _check_shared_memory(size * self._workers, f"{self._workers} batch(es) of {size / (1 << 20):.1f} MiB")
                return dict(_for_shared_memory(name, array) for name, array in arrays.items())
            return arrays
        except Exception as error:
            if not self._workers:
                raise
            return {_FAILURE: _pack_failure(error)}

    def _make(self, number: int) -> dict[str, np.ndarray]:
        positions = self._order.positions(number)
        records = [self._record(int(position)) for position in positions]
        try:
            batch = self._collate(records, self._order.rng(number), self._training)
        except Exception as error:
            raise self._blame(error, records, positions, number) from error
        batch = {name: _as_array(name, value) for name, value in batch.items()}
        batch["index"] = positions.astype(np.int64)
        return batch

    def _record(self, position: int) -> Any:
        try:
            return self._records[position]
        except Exception as error:
            raise _wrapped(error, f"{self._what}, record {position}: could not be read") from error

    def _blame(self, error: Exception, records: list[Any], positions: np.ndarray, number: int) -> Exception:
        """The error of a failed collate; it names the record that also fails on its own, if there is one."""
        for record, position in zip(records, positions):
            try:
                self._collate([record], self._order.rng(number), self._training)
            except type(error) as single:
                return _wrapped(single, f"{self._what}, record {int(position)} ({record!r:.300})")
            except Exception:  # noqa: S112 - a batch of one may fail for reasons of its own
                continue
        return _wrapped(error, f"{self._what}, batch of records {positions.tolist()}")


class Loader:
    """Iterates over `Batches` as dicts of Paddle tensors on the current device.

    Args:
        dataset: the batches; iterating yields them in order.
        workers: data worker processes; 0 makes batches in the calling process.
    Raises (while iterating):
        InputError: bad data (raised by the record table or collate; names the record), or too little shared memory.
        RuntimeError: any other failure of collate, with the worker's traceback.
    """

    def __init__(self, dataset: Batches, workers: int):
        self._dataset, self._workers = dataset, workers

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[dict[str, paddle.Tensor]]:
        if self._workers == 0:
            for item in range(len(self._dataset)):
                yield {name: paddle.to_tensor(value) for name, value in self._dataset[item].items()}
            return
        if not len(self._dataset):
            return
        least = self._workers * _LEAST_SHARED_BYTES_A_WORKER
        _check_shared_memory(least, f"{self._workers} data worker(s)")
        workers = self._start_workers()
        try:
            for batch in workers:
                if _FAILURE in batch:
                    raise _unpack_failure(batch[_FAILURE].numpy())
                yield dict(_from_shared_memory(name, tensor) for name, tensor in batch.items())
        finally:
            stop_data_workers(workers)

    def _start_workers(self) -> Iterator[dict[str, paddle.Tensor]]:
        loader = paddle.io.DataLoader(
            self._dataset,
            batch_size=None,
            num_workers=min(self._workers, len(self._dataset)),
            use_shared_memory=True,
            prefetch_factor=_BATCHES_AHEAD,
            worker_init_fn=_prepare_worker,
        )
        # Starting the workers draws a number from NumPy's global generator; a resumed run starts them once more than
        # an uninterrupted one, so the generator is put back.
        state = np.random.get_state()  # noqa: NPY002
        iterator = iter(loader)
        np.random.set_state(state)  # noqa: NPY002
        return iterator


def train_loader(
    records: Sequence[Any], collate: Collate, order: TrainOrder, start: int, stop: int, workers: int
) -> Loader:
    """Make a loader of the micro-batches `start … stop - 1` of a training run, counted over all epochs."""
    return Loader(Batches(records, collate, order, start, stop, "training split", workers), workers)


def eval_loader(records: Sequence[Any], collate: Collate, order: EvalOrder, split: str, workers: int) -> Loader:
    """Make a loader of this process's batches of an evaluation split, with "index" [b] int64 = positions in the split.

    Raises:
        InputError: the split is empty.
    """
    if order.records == 0:
        raise InputError(f"split {split!r} is empty: check its annotation file and filters")
    return Loader(Batches(records, collate, order, 0, len(order), f"split {split!r}", workers), workers)


def _check_shared_memory(needed: int, what: str) -> None:
    """Raise InputError when the shared memory through which workers pass batches has fewer than `needed` bytes free.

    A worker that exceeds it dies with a bus error; containers often have 64 MB only.
    """
    free = _free_bytes()
    if free is not None and free < needed:
        raise InputError(
            f"{_SHARED_MEMORY}: {free >> 20} MiB free, but {what} need {needed >> 20} MiB. Lower train.workers (0 "
            "reads in the training process), lower train.batch_size, or enlarge it (docker run --shm-size=8g)"
        )


def _free_bytes() -> int | None:
    """Free shared memory in bytes; None on systems without such a folder."""
    try:
        status = os.statvfs(_SHARED_MEMORY)
    except (OSError, AttributeError):
        return None
    return status.f_bavail * status.f_frsize


def _prepare_worker(_worker: int) -> None:
    """Ignore the signals that stop a training, and exit with the trainer.

    Ctrl-C reaches every process of the terminal, and launchers and batch systems send SIGTERM to the whole group: the
    trainer finishes its step and still needs its workers. A killed trainer cannot stop its workers, and Paddle's would
    wait forever, holding memory and log files.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)


def _as_array(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"collate returned {name!r} as {array.dtype}: batches hold numbers only; look texts up by 'index'"
        )
    return array


def _for_shared_memory(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Encode an array without elements, which cannot pass through shared memory, as its shape; dtype in the name."""
    if array.size:
        return name, array
    return f"{_EMPTY}/{array.dtype.name}/{name}", np.array([0, *array.shape], dtype=np.int64)


def _from_shared_memory(name: str, tensor: paddle.Tensor) -> tuple[str, paddle.Tensor]:
    if not name.startswith(f"{_EMPTY}/"):
        return name, tensor
    _, dtype, name = name.split("/", 2)
    return name, paddle.to_tensor(np.zeros(tensor.numpy()[1:], dtype=dtype))


def _wrapped(error: Exception, context: str) -> Exception:
    """`error` with its context: bad data stays an InputError, anything else becomes a RuntimeError."""
    if isinstance(error, InputError):
        return InputError(f"{context}: {error}")
    return RuntimeError(f"{context}: {type(error).__name__}: {error}")


def _pack_failure(error: Exception) -> np.ndarray:
    """Encode an error as bytes, since only arrays pass through shared memory: bad data or not, and its text."""
    is_input = isinstance(error, InputError)
    trace = "" if is_input else "\n" + "".join(traceback.format_exception(None, error, error.__traceback__))
    return np.frombuffer(pickle.dumps((is_input, f"{error}{trace}")), dtype=np.uint8).copy()


def _unpack_failure(packed: np.ndarray) -> Exception:
    is_input, text = pickle.loads(packed.tobytes())
    return InputError(text) if is_input else RuntimeError(f"a data worker failed: {text}")
