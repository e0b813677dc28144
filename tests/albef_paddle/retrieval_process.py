"""One process of a retrieval step on its share of the recorded batch; `retrieval_process.py FOLDER` writes losses."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle

from albef_paddle.network.retrieval import AlbefForRetrieval
from pyutils import distributed
from pyutils.layers.contrast import Negatives
from tests.albef_paddle.support import config_of, fill_from_original
from tests.support import golden


def order(identities: np.ndarray) -> list[int]:
    """Four rows; 0 and 1, 2 and 3 of them are pairs of different images."""
    first = next(row for row in range(len(identities)) if identities[row] != identities[0])
    rest = [row for row in range(1, len(identities)) if row != first]
    other = next(row for row in rest if identities[row] != identities[rest[0]])
    return [0, first, rest[0], other]


def share_of_step(model: AlbefForRetrieval, first: int, last: int) -> dict[str, np.ndarray]:
    """Losses of the recorded pairs `first` … `last` - 1 (in an order in which neighbours differ), neighbours being each
    other's negatives; the queue afterwards and some gradients."""
    arrays = golden("albef/retrieval").inputs
    names = ("image", "input_ids", "attention_mask", "idx")
    swapped = paddle.to_tensor(np.arange(last - first) ^ 1)  # 1, 0, 3, 2, …
    given = [paddle.to_tensor(arrays[name][order(arrays["idx"])[first:last]]) for name in names]
    losses = model(*given, 0.4, Negatives(swapped, swapped))
    (losses.itc + losses.itm).backward()
    queue = {name: tensor.numpy() for name, tensor in model.queue.state_dict().items()}
    parts = {"vision": model.vision.class_token, "text": model.text.word_table, "temperature": model.temperature}
    gradients = {f"gradient_{name}": parameter.grad.numpy() for name, parameter in parts.items()}
    return {"contrast": losses.itc.numpy(), "matching": losses.itm.numpy(), **queue, **gradients}


def build() -> AlbefForRetrieval:
    """The recorded model."""
    recorded = golden("albef/retrieval")
    config = config_of(recorded.config)
    model = AlbefForRetrieval(config)
    fill_from_original(model, recorded, config)
    return model


if __name__ == "__main__":
    distributed.initialize()
    rank = distributed.rank()
    np.savez(Path(sys.argv[1]) / f"rank{rank}.npz", **share_of_step(build(), 2 * rank, 2 * rank + 2))
