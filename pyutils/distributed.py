"""Ranks, gathers and barriers of the processes of a run; the identity in a single process.

All processes must call collectives in the same order. Gathers use pieces of equal size, because Paddle aborts when
tensors of unequal shapes are gathered.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
import paddle.distributed as dist

from pyutils.errors import InputError
from pyutils.formats import safe_pickle
from pyutils.runtime import end_with_parent
from pyutils.runtime import is_main as is_main
from pyutils.runtime import rank as rank
from pyutils.runtime import world_size as world_size

_PIECE_BYTES = 64 << 20


def initialize() -> None:
    """Join the processes of `paddle.distributed.launch`, each on its own device; repeated calls have no effect.

    Raises InputError in processes of another launcher: each would train alone and overwrite the others' files.
    """
    others = os.environ.get("WORLD_SIZE", "1")
    if "PADDLE_TRAINERS_NUM" not in os.environ and "RANK" in os.environ and others.isdecimal() and int(others) > 1:
        raise InputError(
            f"this is process {os.environ['RANK']} of {others} (RANK, WORLD_SIZE) of a launcher that Paddle does not "
            "know, such as torchrun; start them with python -m paddle.distributed.launch --nproc_per_node N SCRIPT …"
        )
    if world_size() > 1 and not dist.is_initialized():
        # A launcher that is killed cannot stop its processes, which would train on unseen.
        end_with_parent(signal.SIGTERM)
        dist.init_parallel_env()


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()


def all_gather_objects(value: Any) -> list[Any]:
    """Return [value of rank 0, value of rank 1, …] on every process.

    Values are of any size, made of numbers, text, bytes, arrays, dicts, lists, tuples and sets: they come through ports
    that others on the network may reach, so nothing that a pickle names is called.
    """
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
    return [
        safe_pickle.load(bytes(part[:size]), f"what process {number} sent")
        for number, (part, size) in enumerate(zip(parts, sizes))
    ]


def gather_rows(tensor: paddle.Tensor) -> paddle.Tensor:
    """Concatenate the rows `[n, …]` of all processes to `[processes * n, …]` by rank, without gradient.

    Shape and dtype must be equal in all processes.
    """
    tensor = tensor.detach()
    if world_size() == 1:
        return tensor
    received: list[paddle.Tensor] = []
    dist.all_gather(received, tensor.contiguous())
    return paddle.concat(received)


def all_reduce_sum(values: Mapping[str, float]) -> dict[str, float]:
    """Sum named numbers over processes in float64; the names must be equal in all processes."""
    if world_size() == 1:
        return dict(values)
    own = np.array(list(values.values()), dtype=np.float64)
    total = np.sum(_gather_equal(own), axis=0)
    return {name: float(number) for name, number in zip(values, total)}


def any_process(flag: bool) -> bool:
    """Return True if `flag` is set in at least one process."""
    return all_reduce_sum({"flag": float(flag)})["flag"] > 0


def broadcast_state(layer: paddle.nn.Layer) -> None:
    """Copy all parameters and buffers of rank 0 to every process."""
    if world_size() == 1:
        return
    with paddle.no_grad():
        for tensor in layer.state_dict().values():
            dist.broadcast(tensor, src=0)


def _gather_equal(array: np.ndarray) -> list[np.ndarray]:
    """Return the arrays of all processes, which have one shape and dtype."""
    received: list[paddle.Tensor] = []
    dist.all_gather(received, paddle.to_tensor(array))
    return [tensor.numpy() for tensor in received]
