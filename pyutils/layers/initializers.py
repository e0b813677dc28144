"""Layers with the originals' initial values: normal(0, std) matrices, zero biases, unit LayerNorms.

They are always given: Paddle's defaults differ from PyTorch's and from the originals'.
"""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn import functional as F

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "swish": F.swish, "tanh": F.tanh}


def normal(std: float) -> paddle.ParamAttr:
    """Initial values from N(0, std²)."""
    return paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, std))


class Linear(nn.Linear):
    """x W + b. While training on the CPU, b is added as the product of a column of ones with it."""

    def forward(self, states: paddle.Tensor) -> paddle.Tensor:
        """`[…, inputs]` → `[…, outputs]`."""
        if not self.training or not states.place.is_cpu_place():
            return nn.Linear.forward(self, states)  # super() is unknown to Paddle 2's export
        # The gradient of b is then a matrix product; Paddle sums over the rows on one thread, 60 times slower.
        ones = paddle.ones([*states.shape[:-1], 1], dtype=states.dtype)
        return paddle.matmul(states, self.weight) + paddle.matmul(ones, self.bias.unsqueeze(0))


def linear(inputs: int, outputs: int, init_std: float = 0.02) -> Linear:
    """Linear layer, weight `[inputs, outputs]` from N(0, init_std²), bias zero."""
    zero = paddle.ParamAttr(initializer=nn.initializer.Constant(0.0))
    return Linear(inputs, outputs, weight_attr=normal(init_std), bias_attr=zero)


class LayerNorm(nn.LayerNorm):
    """LayerNorm whose input gradient is right when its weight is frozen."""

    def forward(self, states: paddle.Tensor) -> paddle.Tensor:
        """`[…, size]` → the same shape."""
        if not self.training or not self.weight.stop_gradient or not states.place.is_cpu_place():
            return nn.LayerNorm.forward(self, states)  # Paddle 2.6 exports no super() without arguments
        # On the CPU Paddle's kernel leaves a frozen weight out of the gradient: scale and shift outside of it.
        return F.layer_norm(states, self._normalized_shape, epsilon=self._epsilon) * self.weight + self.bias


def layer_norm(size: int, epsilon: float = 1e-12) -> LayerNorm:
    """LayerNorm over the last axis with weight one and bias zero."""
    return LayerNorm(size, epsilon=epsilon)


def embedding(rows: int, size: int, init_std: float = 0.02) -> nn.Embedding:
    """Embedding table `[rows, size]` from N(0, init_std²). Id 0 is an ordinary row (Paddle's `padding_idx` would
    return zeros for it, which the originals do not)."""
    return nn.Embedding(rows, size, weight_attr=normal(init_std))
