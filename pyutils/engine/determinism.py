"""Random numbers as a function of the seed and the step.

All generators (Python, NumPy, Paddle on CPU and GPU) are seeded before each step from (seed, step, process). A resumed
run therefore draws the numbers of the uninterrupted one, whatever happened in between (an evaluation, another number of
data workers), without saved generator states: Paddle 2.6 cannot save that of its CPU generator.
"""

from __future__ import annotations

import random

import numpy as np
import paddle

_INITIAL, _STEP = 0, 1


def seed_initial(seed: int) -> None:
    """Seed all generators before a model is built, alike in every process, so that all start from equal weights."""
    _seed_all([_INITIAL, seed])


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed all generators for optimizer step `step` of process `rank` (dropout differs between processes)."""
    _seed_all([_STEP, seed, step, rank])


def _seed_all(entropy: list[int]) -> None:
    numbers = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(int(numbers[1]))  # noqa: NPY002 - third-party code draws from the global generator
    paddle.seed(int(numbers[2]))
