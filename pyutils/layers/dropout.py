"""Dropout (Srivastava et al., JMLR 2014), with a faster source of random numbers on the CPU."""

from __future__ import annotations

import math

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

_LEVELS = 1 << 16


def dropout(states: paddle.Tensor, rate: float, training: bool = True) -> paddle.Tensor:
    """Zero each entry of `states` with probability `rate` and scale the others by 1 / (1 - rate).

    On the CPU the mask comes from NumPy, 16 random bits per entry, seeded by a number from Paddle's generator, so that
    `paddle.seed` and recomputation work as for Paddle's own dropout, which draws 64 bits per entry on one thread and is
    two to four times slower. `rate` is then rounded to a multiple of 2⁻¹⁶, and the scale with it.
    """
    if not training or rate == 0.0:
        return states
    dropped = round(rate * _LEVELS)
    if not states.place.is_cpu_place() or dropped in (0, _LEVELS):
        return F.dropout(states, rate)
    seed = paddle.randint(0, 2**31 - 1, [1]).item()
    bits = np.random.Generator(np.random.SFC64(seed)).integers(0, _LEVELS, math.prod(states.shape), dtype=np.uint16)
    mask = np.multiply(bits >= dropped, _LEVELS / (_LEVELS - dropped), dtype=np.float32)
    return states * paddle.to_tensor(mask.reshape(states.shape)).astype(states.dtype)


class Dropout(nn.Layer):
    """`dropout` as a layer; off in eval mode."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, states: paddle.Tensor) -> paddle.Tensor:
        """Any shape, which is kept."""
        return dropout(states, self.rate, self.training)
