"""Layers with the originals' initial values: normal(0, std) matrices, zero biases, unit LayerNorms.

Paddle's defaults differ from PyTorch's and from the originals', so nothing is left to them.
"""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn import functional as F

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "swish": F.swish, "tanh": F.tanh}


def activation(name: str):
    """The activation function called `name`; ValueError naming the known ones."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]


def normal(std: float) -> paddle.ParamAttr:
    """Initial values from N(0, std²)."""
    return paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, std))


class Linear(nn.Linear):
    """x W + b. While training on the CPU, b is added as the product of a column of ones with it: the gradient of b is
    then a matrix product too, where Paddle's own sum over the rows runs on one thread and took 60 times as long."""

    def forward(self, states: paddle.Tensor) -> paddle.Tensor:
        """`[…, inputs]` → `[…, outputs]`."""
        if self.bias is None or not self.training or not states.place.is_cpu_place():
            return nn.Linear.forward(self, states)  # super() is unknown to Paddle 2's export
        ones = paddle.ones([*states.shape[:-1], 1], dtype=states.dtype)
        return paddle.matmul(states, self.weight) + paddle.matmul(ones, self.bias.unsqueeze(0))


def linear(inputs: int, outputs: int, init_std: float = 0.02, bias: bool = True) -> Linear:
    """Linear layer, weight `[inputs, outputs]` from N(0, init_std²), bias zero."""
    bias_attr = paddle.ParamAttr(initializer=nn.initializer.Constant(0.0)) if bias else False
    return Linear(inputs, outputs, weight_attr=normal(init_std), bias_attr=bias_attr)


class LayerNorm(nn.LayerNorm):
    """LayerNorm whose input gradient stays right when its weight is frozen: on the CPU Paddle's own kernel then leaves
    the weight out of it, so a frozen one scales and shifts outside the kernel."""

    def forward(self, states: paddle.Tensor) -> paddle.Tensor:
        """`[…, size]` → the same shape."""
        if not self.training or not self.weight.stop_gradient or not states.place.is_cpu_place():
            return nn.LayerNorm.forward(self, states)  # Paddle 2.6 exports no super() without arguments
        return F.layer_norm(states, self._normalized_shape, epsilon=self._epsilon) * self.weight + self.bias


def layer_norm(size: int, epsilon: float = 1e-12) -> LayerNorm:
    """LayerNorm over the last axis with weight one and bias zero."""
    return LayerNorm(size, epsilon=epsilon)


def embedding(rows: int, size: int, init_std: float = 0.02) -> nn.Embedding:
    """Embedding table `[rows, size]` from N(0, init_std²). Id 0 is an ordinary row (Paddle's `padding_idx` would
    return zeros for it, which the originals do not)."""
    return nn.Embedding(rows, size, weight_attr=normal(init_std))
