"""Convolutions with batch norm; for inference on a CPU they become matrix products on `[n, h, w, c]` maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Optional, Union

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

# Importing it sets the thread count and lets transposes copy: on Paddle's strided views the products below took twice
# as long.
from pyutils import compat  # noqa: F401

# Winograd's F(4x4, 3x3): tiles of 6x6 give 4x4 outputs with 36 products in place of 144 (Lavin and Gray 2016,
# arXiv 1509.09308). The interpolation points are 0, 1, -1, 2, -2.
_INPUT = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]]
_INPUT += [[0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
_KERNEL = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6]]
_KERNEL += [[1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
_TILE = 4


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
        self._shape = (kernel, stride, dilation)
        self._folded: Optional[Callable[[paddle.Tensor], paddle.Tensor]] = None

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """`[n, inputs, h, w]` → `[n, outputs, h / stride, w / stride]`; after `fold`, `[n, h, w, c]` both."""
        return self.norm(self.conv(maps)) if self._folded is None else self._folded(maps)

    def fold(self) -> None:
        """Replace convolution and batch norm (with its running statistics) by matrix products on `[n, h, w, c]`.

        Paddle's own convolution on the CPU adds a bias in a pass that takes as long as the convolution.
        """
        scale = self.norm.weight / paddle.sqrt(self.norm._variance + self.norm._epsilon)
        bias = self.norm.bias - self.norm._mean * scale
        weight = (self.conv.weight * scale.reshape([-1, 1, 1, 1])).numpy()
        kernel, stride, dilation = self._shape
        if kernel == 1:
            self._folded = _Pointwise(weight, bias, stride)
        elif kernel == 3 and stride == 1:
            self._folded = _Winograd(weight, bias, dilation)
        else:
            self._folded = _Unfolded(weight, bias, stride, dilation)


class _Pointwise:
    """A 1x1 convolution."""

    def __init__(self, weight: np.ndarray, bias: paddle.Tensor, stride: int):
        self.weight, self.bias, self.stride = paddle.to_tensor(weight[:, :, 0, 0].T.copy()), bias, stride

    def __call__(self, maps: paddle.Tensor) -> paddle.Tensor:
        if self.stride > 1:
            maps = maps[:, :: self.stride, :: self.stride]
        return F.linear(maps, self.weight, self.bias)


class _Unfolded:
    """A k x k convolution: shifted copies of the map side by side, then one matrix product."""

    def __init__(self, weight: np.ndarray, bias: paddle.Tensor, stride: int, dilation: int):
        outputs, _, self.kernel, _ = weight.shape
        self.weight = paddle.to_tensor(weight.transpose(2, 3, 1, 0).reshape(-1, outputs).copy())
        self.bias, self.stride, self.dilation = bias, stride, dilation

    def __call__(self, maps: paddle.Tensor) -> paddle.Tensor:
        reach, step = self.dilation * (self.kernel // 2), self.stride
        _, height, width, _ = maps.shape
        padded = F.pad(maps, [reach] * 4, data_format="NHWC")
        shifts = [self.dilation * place for place in range(self.kernel)]
        parts = [padded[:, y : y + height : step, x : x + width : step] for y in shifts for x in shifts]
        return F.linear(paddle.concat(parts, axis=-1), self.weight, self.bias)


class _Winograd:
    """A 3x3 convolution of stride 1. Dilation d is d x d ordinary convolutions on every d-th row and column."""

    def __init__(self, weight: np.ndarray, bias: paddle.Tensor, dilation: int):
        outputs, inputs = weight.shape[:2]
        kernel = np.array(_KERNEL)
        products = np.einsum("ai,ocij,bj->abco", kernel, weight.astype(np.float64), kernel)
        self.weight = paddle.to_tensor(products.reshape(36, inputs, outputs).astype(np.float32))
        self.input, self.output = (paddle.to_tensor(np.kron(m, m).astype(np.float32)) for m in (_INPUT, _OUTPUT))
        self.bias, self.dilation = bias, dilation

    def __call__(self, maps: paddle.Tensor) -> paddle.Tensor:
        if self.dilation == 1:
            return self._convolve(maps) + self.bias
        count, step = len(maps), self.dilation
        height, width = (-(-side // step) * step for side in maps.shape[1:3])
        padded = F.pad(maps, [0, width - maps.shape[2], 0, height - maps.shape[1]], data_format="NHWC")
        split = padded.reshape([count, height // step, step, width // step, step, -1]).transpose([2, 4, 0, 1, 3, 5])
        inner = self._convolve(split.reshape([step * step * count, height // step, width // step, -1]))
        joined = inner.reshape([step, step, count, height // step, width // step, -1]).transpose([2, 3, 0, 4, 1, 5])
        whole = joined.reshape([count, height, width, -1])
        return whole[:, : maps.shape[1], : maps.shape[2]] + self.bias

    def _convolve(self, maps: paddle.Tensor) -> paddle.Tensor:
        count, height, width, _ = maps.shape
        rows, columns = -(-height // _TILE), -(-width // _TILE)
        padded = F.pad(maps, [1, columns * _TILE - width + 1, 1, rows * _TILE - height + 1], data_format="NHWC")
        size = _TILE + 2
        starts = [(_TILE * y, _TILE * x) for y in range(rows) for x in range(columns)]
        tiles = paddle.stack([padded[:, y : y + size, x : x + size] for y, x in starts])
        tiles = tiles.reshape([len(starts) * count, size * size, -1])
        moved = paddle.matmul(self.input, tiles).transpose([1, 0, 2])  # [36, tiles, inputs]
        products = paddle.bmm(moved, self.weight)  # [36, tiles, outputs]
        outputs = products.shape[-1]
        found = paddle.matmul(self.output, products.reshape([size * size, -1]))
        found = found.reshape([_TILE, _TILE, rows, columns, count, outputs]).transpose([4, 2, 0, 3, 1, 5])
        return found.reshape([count, rows * _TILE, columns * _TILE, outputs])[:, :height, :width]


def fold_norms(layers: Iterable[nn.Layer]) -> None:
    """Fold every `ConvNorm` of `layers`."""
    for layer in layers:
        if isinstance(layer, ConvNorm):
            layer.fold()
