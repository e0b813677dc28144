"""Convolutions with batch norm, which inference folds into one operation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Union

import paddle
from paddle import nn


class ConvNorm(nn.Layer):
    """A convolution without bias and its batch norm.

    `padding`: None pads by half the kernel on every side; "SAME" as TensorFlow does, one pixel more below and to the
    right where the sum is odd.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        padding: Union[str, int, None] = None,
        epsilon: float = 1e-5,
    ):
        super().__init__()
        padding = dilation * (kernel // 2) if padding is None else padding
        self.conv = nn.Conv2D(inputs, outputs, kernel, stride, padding, dilation, groups, bias_attr=False)
        self.norm = nn.BatchNorm2D(outputs, epsilon=epsilon)

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """`[n, inputs, h, w]` → `[n, outputs, h / stride, w / stride]`."""
        return self.norm(self.conv(maps))

    def fold(self) -> None:
        """Multiply the batch norm, with its running statistics, into the convolution; only for inference."""
        if isinstance(self.norm, nn.Identity):
            return
        scale = self.norm.weight / paddle.sqrt(self.norm._variance + self.norm._epsilon)
        self.conv.weight.set_value(self.conv.weight * scale.reshape([-1, 1, 1, 1]))
        bias = self.conv.create_parameter(scale.shape, is_bias=True)
        bias.set_value(self.norm.bias - self.norm._mean * scale)
        self.conv.bias = bias
        self.norm = nn.Identity()


def fold_norms(layers: Iterable[nn.Layer]) -> None:
    """Fold every batch norm of `layers` into its convolution, which saves a pass over each map."""
    for layer in layers:
        if isinstance(layer, ConvNorm):
            layer.fold()
