"""Batches for training and evaluation: whole collated batches read through `paddle.io.DataLoader`.

The dataset behind a loader has batches, not records, as its items. Data workers therefore collate, one batch goes
through shared memory as a few large arrays, and a loader can start at any batch without touching the earlier ones.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import paddle

from pyutils.compat import stop_data_workers
from pyutils.data.order import EvalOrder, TrainOrder
from pyutils.errors import InputError

Collate = Callable[[list[Any], np.random.Generator, bool], dict[str, np.ndarray]]

_FAILURE = "__failure__"
_EMPTY = "__empty__"
_SHARED_MEMORY = "/dev/shm"
_LEAST_SHARED_BYTES_A_WORKER = 16 << 20
_BATCHES_AHEAD = 2
_PR_SET_PDEATHSIG = 1
_MORE_SHARED_MEMORY = (
    "Lower train.workers (0 reads in the training process), lower train.batch_size, or enlarge it "
    "(docker run --shm-size=8g, or --ipc=host)."
)


class Batches(paddle.io.Dataset):
    """Batches `start … stop - 1` of an order as a map-style dataset; item `i` is batch `start + i`.

    An exception raised while a batch is made does not kill the worker: it travels to the training process as the batch
    and is raised there by `Loader`, with the record's name.
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
                _check_room(arrays, self._workers)
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
        """The error of a failed collate, naming the record that fails on its own where one does."""
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
        InputError: bad data (as raised by the record table or collate, with the record named), or too little shared
            memory for the workers.
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
        check_shared_memory(self._workers)
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
    """Micro-batches `start … stop - 1` of a training run (numbers run on over the epochs).

    Raises InputError when the split is empty or smaller than one optimizer step.
    """
    order.check("the training split")
    return Loader(Batches(records, collate, order, start, stop, "training split", workers), workers)


def eval_loader(records: Sequence[Any], collate: Collate, order: EvalOrder, split: str, workers: int) -> Loader:
    """This process's batches of an evaluation split, with "index" [b] int64 = positions in the split.

    Raises InputError, naming the split, when it is empty.
    """
    if order.records == 0:
        raise InputError(
            f"split {split!r} is empty: there is nothing to evaluate. Check its annotation file and filters."
        )
    return Loader(Batches(records, collate, order, 0, len(order), f"split {split!r}", workers), workers)


def check_shared_memory(workers: int, folder: str = _SHARED_MEMORY) -> None:
    """InputError when the shared memory that data workers hand batches through is missing or clearly too small.

    A worker that runs out of it dies with a bus error; containers often give 64 MB only.
    """
    free = _free_bytes(folder)
    least = workers * _LEAST_SHARED_BYTES_A_WORKER
    if free is not None and free < least:
        raise InputError(
            f"{folder}: {free >> 20} MiB free, but {workers} data worker(s) need at least {least >> 20} MiB. "
            + _MORE_SHARED_MEMORY
        )


def _check_room(arrays: dict[str, np.ndarray], workers: int) -> None:
    """InputError when this batch, or one as large from every other worker at once, does not fit in shared memory."""
    size = sum(array.nbytes for array in arrays.values())
    free = _free_bytes(_SHARED_MEMORY)
    if free is not None and free < size * workers:
        raise InputError(
            f"{_SHARED_MEMORY}: {free >> 20} MiB free, but a batch takes {size / (1 << 20):.1f} MiB and {workers} data "
            f"worker(s) write at the same time. " + _MORE_SHARED_MEMORY
        )


def _free_bytes(folder: str) -> int | None:
    """Free bytes of the file system at `folder`; None where there is no such folder to run out of."""
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return status.f_bavail * status.f_frsize


def _prepare_worker(_worker: int) -> None:
    """Leave signals to the trainer, and end with it.

    Ctrl-C reaches every process of the terminal: the trainer finishes its step, so its workers go on. A trainer that is
    killed outright cannot end its workers, and Paddle's would wait for work for ever, holding memory and log files.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _as_array(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"collate returned {name!r} as {array.dtype}: batches hold numbers only; look texts up by 'index'"
        )
    return array


def _for_shared_memory(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """An array without elements cannot pass through shared memory: its shape does, the rest stands in its name."""
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
    kind = InputError if isinstance(error, InputError) else RuntimeError
    return kind(
        f"{context}: {error}" if isinstance(error, InputError) else f"{context}: {type(error).__name__}: {error}"
    )


def _pack_failure(error: Exception) -> np.ndarray:
    """Whether it is bad data, and its text, as bytes: the only thing that passes through shared memory."""
    is_input = isinstance(error, InputError)
    text = (
        str(error) if is_input else f"{error}\n" + "".join(traceback.format_exception(None, error, error.__traceback__))
    )
    return np.frombuffer(pickle.dumps((is_input, text)), dtype=np.uint8).copy()


def _unpack_failure(packed: np.ndarray) -> Exception:
    is_input, text = pickle.loads(packed.tobytes())
    return InputError(text) if is_input else RuntimeError(f"a data worker failed: {text}")
