"""ResNet in the form that Faster R-CNN C4 detectors take: stages res2 to res4 as backbone, res5 as head per region."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from pyutils.regions.convolution import ConvNorm, fold_norms

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of res2, res3, res4, res5 by depth."""


class Bottleneck(nn.Layer):
    """1x1, 3x3, 1x1 convolutions around a shortcut (He et al. 2016, figure 5)."""

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        stride: int = 1,
        dilation: int = 1,
        stride_in_1x1: bool = True,
    ):
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.shortcut = ConvNorm(inputs, outputs, 1, stride) if inputs != outputs else None
        self.conv1 = ConvNorm(inputs, width, 1, first)
        self.conv2 = ConvNorm(width, width, 3, second, dilation)
        self.conv3 = ConvNorm(width, outputs, 1)

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """`[n, inputs, h, w]` → `[n, outputs, h / stride, w / stride]`."""
        shortcut = maps if self.shortcut is None else self.shortcut(maps)
        inner = F.relu(self.conv2(F.relu(self.conv1(maps))))
        return F.relu(self.conv3(inner) + shortcut)


class ResNetC4(nn.Layer):
    """Stem, res2, res3 and res4: maps of 1/16 of the image's size.

    Args:
        depth: 50, 101 or 152. width: channels inside a res2 block. res2: channels out of res2; doubled every stage.
        caffe_pool: 3x3 max pool without padding, rounded up, as in Caffe; else padded by 1 and rounded down.
        stride_in_1x1: a stage's stride is in its first 1x1 convolution, as in Caffe and the original; else in the 3x3.
    """

    def __init__(
        self,
        depth: int = 101,
        stem: int = 64,
        width: int = 64,
        res2: int = 256,
        caffe_pool: bool = True,
        stride_in_1x1: bool = True,
    ):
        super().__init__()
        self.caffe_pool, self.folded = caffe_pool, False
        self.stem = ConvNorm(3, stem, 7, 2)
        inputs = stem
        for stage, blocks in enumerate(BLOCKS[depth][:3]):
            outputs = res2 << stage
            layers = stage_blocks(blocks, inputs, width << stage, outputs, 1 if stage == 0 else 2, 1, stride_in_1x1)
            setattr(self, f"res{stage + 2}", layers)
            inputs = outputs

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """`[n, 3, h, w]` → `[n, 4 res2, h / 16, w / 16]`, rounded up."""
        if not self.folded:
            return self.res4(self.res3(self.res2(self.pooled_stem(images))))
        # One image at a time: a batch is no faster on a CPU, and its maps would take the memory of all its images.
        parts = [self.pooled_stem(images[i : i + 1]).transpose([0, 2, 3, 1]) for i in range(len(images))]
        return paddle.concat([self.res4(self.res3(self.res2(part))).transpose([0, 3, 1, 2]) for part in parts])

    def fold(self) -> None:
        """Prepare the stages for inference, see `ConvNorm.fold`; the stem stays."""
        self.folded = True
        for stage in (self.res2, self.res3, self.res4):
            fold_norms(stage.sublayers())

    def pooled_stem(self, images: paddle.Tensor) -> paddle.Tensor:
        """`[n, 3, h, w]` → `[n, stem, h / 4, w / 4]`."""
        maps = F.relu(self.stem(images))
        if self.caffe_pool:
            return F.max_pool2d(maps, 3, 2, 0, ceil_mode=True)
        return F.max_pool2d(maps, 3, 2, 1)


def stage_blocks(
    blocks: int, inputs: int, width: int, outputs: int, stride: int, dilation: int, stride_in_1x1: bool
) -> nn.Sequential:
    """Return the blocks of one stage; the first has the stride and the shortcut's convolution."""
    first = Bottleneck(inputs, width, outputs, stride, dilation, stride_in_1x1)
    rest = (Bottleneck(outputs, width, outputs, 1, dilation) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
