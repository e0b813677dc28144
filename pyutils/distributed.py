"""Processes of one run: ranks, gathers and barriers. Every function works in a single process too, as the identity.

Collectives must be called by every process in the same order. Gathers go through equal-sized pieces, because Paddle
aborts the process when tensors of unequal shapes are gathered.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
import paddle.distributed as dist

_PIECE_BYTES = 64 << 20


def initialize() -> None:
    """Join the processes that `paddle.distributed.launch` started, once, each on its own device."""
    if world_size() > 1 and not dist.is_initialized():
        dist.init_parallel_env()


def rank() -> int:
    """Number of this process, 0 … world_size() - 1."""
    return int(os.environ.get("PADDLE_TRAINER_ID", "0")) if world_size() > 1 else 0


def world_size() -> int:
    """Number of processes of the run."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))


def is_main() -> bool:
    """Whether this process writes files and prints."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()


def all_gather_objects(value: Any) -> list[Any]:
    """[value of rank 0, value of rank 1, …] on every process, for any picklable values of any sizes."""
    if world_size() == 1:
        return [value]
    own = np.frombuffer(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL), dtype=np.uint8)
    sizes = [int(size[0]) for size in _gather_equal(np.array([own.size], dtype=np.int64))]
    parts = [bytearray() for _ in sizes]
    for start in range(0, max(sizes), _PIECE_BYTES):
        piece = np.zeros(min(_PIECE_BYTES, max(sizes) - start), dtype=np.uint8)
        mine = own[start : start + piece.size]
        piece[: mine.size] = mine
        for part, received in zip(parts, _gather_equal(piece)):
            part += received.tobytes()
    return [pickle.loads(bytes(part[:size])) for part, size in zip(parts, sizes)]


def gather_rows(tensor: paddle.Tensor) -> paddle.Tensor:
    """The rows `[n, …]` of all processes below each other, `[processes * n, …]`, in order of rank and without gradient.

    Every process must give the same shape and dtype, as training batches have them.
    """
    tensor = tensor.detach()
    if world_size() == 1:
        return tensor
    received: list[paddle.Tensor] = []
    dist.all_gather(received, tensor.contiguous())
    return paddle.concat(received)


def all_reduce_sum(values: Mapping[str, float]) -> dict[str, float]:
    """Sum over processes of named numbers (float64; every process gives the same names)."""
    if world_size() == 1:
        return dict(values)
    own = np.array(list(values.values()), dtype=np.float64)
    total = np.sum(_gather_equal(own), axis=0)
    return {name: float(number) for name, number in zip(values, total)}


def any_process(flag: bool) -> bool:
    """Whether `flag` holds on at least one process."""
    return all_reduce_sum({"flag": float(flag)})["flag"] > 0


def broadcast_state(layer: paddle.nn.Layer) -> None:
    """Give every process the parameters and buffers of rank 0, those that are not trained included."""
    if world_size() == 1:
        return
    with paddle.no_grad():
        for tensor in layer.state_dict().values():
            dist.broadcast(tensor, src=0)


def _gather_equal(array: np.ndarray) -> list[np.ndarray]:
    """The arrays of all processes, which must agree in shape and dtype."""
    received: list[paddle.Tensor] = []
    dist.all_gather(received, paddle.to_tensor(array))
    return [tensor.numpy() for tensor in received]
