"""The vision transformer (Dosovitskiy et al., arXiv 2010.11929, section 3.1): pre-norm blocks over image patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from pyutils.compat import recompute
from pyutils.layers.attention import AttentionMaps, MultiHeadAttention
from pyutils.layers.dropout import Dropout
from pyutils.layers.initializers import layer_norm, linear, normal


@dataclass(frozen=True)
class VisionShape:
    """Sizes of a vision transformer; the defaults are ViT-B/16 at 256 pixels.

    `image_size` is a multiple of `patch_size`. `dropout`: after the position embeddings, the attention's projection and
    both feed-forward layers; `attention_dropout`: of attention weights; `drop_path`: chance that a sample skips a
    sub-layer of the last block (arXiv 1603.09382), falling linearly to 0 at the first.
    """

    image_size: int = 256
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    layer_norm_eps: float = 1e-6
    init_std: float = 0.02

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


class DropPath(nn.Layer):
    """Zero a residual branch for whole samples with chance `rate` while training, and scale the kept ones up."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, branch: paddle.Tensor) -> paddle.Tensor:
        """`[batch, …]` → the same shape."""
        if not self.rate or not self.training:
            return branch
        keep = 1.0 - self.rate
        kept = (paddle.rand([branch.shape[0]] + [1] * (branch.ndim - 1)) < keep).astype(branch.dtype)
        return branch * (kept / keep)


class PatchEmbedding(nn.Layer):
    """Cut an image into squares and project each, as one matrix product."""

    def __init__(self, shape: VisionShape):
        super().__init__()
        size = shape.patch_size
        self.weight = self.create_parameter([shape.width, 3, size, size], attr=normal(shape.init_std))
        self.bias = self.create_parameter([shape.width], is_bias=True, default_initializer=nn.initializer.Constant(0.0))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """`[batch, 3, height, width]` float32 → `[batch, patches, width]`, patches row by row."""
        size = self.weight.shape[-1]
        batch, channels, height, width = images.shape
        rows, columns = height // size, width // size
        # [batch, 3, rows, size, columns, size] -> [batch, rows, columns, 3, size, size]
        patches = images.reshape([batch, channels, rows, size, columns, size]).transpose([0, 2, 4, 1, 3, 5])
        patches = patches.reshape([batch, rows * columns, channels * size * size])
        return paddle.matmul(patches, self.weight.reshape([self.weight.shape[0], -1]), transpose_y=True) + self.bias


class VisionBlock(nn.Layer):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, shape: VisionShape, drop_path: float):
        super().__init__()
        inner = int(shape.width * shape.mlp_ratio)
        self.attention_norm = layer_norm(shape.width, shape.layer_norm_eps)
        self.attention = MultiHeadAttention(
            shape.width,
            shape.num_heads,
            dropout=shape.attention_dropout,
            fused_projection=True,
            init_std=shape.init_std,
        )
        self.projection = linear(shape.width, shape.width, shape.init_std)
        self.mlp_norm = layer_norm(shape.width, shape.layer_norm_eps)
        self.expand = linear(shape.width, inner, shape.init_std)
        self.contract = linear(inner, shape.width, shape.init_std)
        self.dropout = Dropout(shape.dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: paddle.Tensor, need_maps: bool = False) -> tuple[paddle.Tensor, AttentionMaps | None]:
        """`[batch, tokens, width]` → the same shape, and the attention maps if asked for."""
        mixed, maps = self.attention(self.attention_norm(tokens), need_maps=need_maps)
        tokens = tokens + self.drop_path(self.dropout(self.projection(mixed)))
        hidden = self.dropout(F.gelu(self.expand(self.mlp_norm(tokens))))
        return tokens + self.drop_path(self.dropout(self.contract(hidden))), maps


class VisionTransformer(nn.Layer):
    """Class token and patches through pre-norm blocks and a last LayerNorm. `recompute_layers` trades time for memory
    while training."""

    def __init__(self, shape: VisionShape):
        super().__init__()
        self.shape = shape
        self.patches = PatchEmbedding(shape)
        self.class_token = self.create_parameter([1, 1, shape.width], attr=normal(shape.init_std))
        self.positions = self.create_parameter([1, 1 + shape.grid**2, shape.width], attr=normal(shape.init_std))
        self.dropout = Dropout(shape.dropout)
        rates = np.linspace(0.0, shape.drop_path, shape.depth)
        self.blocks = nn.LayerList([VisionBlock(shape, float(rate)) for rate in rates])
        self.norm = layer_norm(shape.width, shape.layer_norm_eps)
        self.recompute_layers = False

    def embed(self, images: paddle.Tensor) -> paddle.Tensor:
        """`[batch, 3, image_size, image_size]` → the tokens before the first block, `[batch, 1 + patches, width]`.

        ValueError for images of another size.
        """
        size = self.shape.image_size
        if list(images.shape[1:]) != [3, size, size]:
            raise ValueError(f"expected images [batch, 3, {size}, {size}], found {list(images.shape)}")
        first = self.class_token.expand([images.shape[0], 1, self.shape.width])
        return self.dropout(paddle.concat([first, self.patches(images)], axis=1) + self.positions)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """`[batch, 3, image_size, image_size]` normalised → `[batch, 1 + patches, width]`, class token first."""
        tokens = self.embed(images)
        for block in self.blocks:
            tokens, _ = recompute(block, tokens) if self.recompute_layers and self.training else block(tokens)
        return self.norm(tokens)

    def trace(self, images: paddle.Tensor) -> tuple[list[paddle.Tensor], list[AttentionMaps]]:
        """Tokens before the first and after every block, then the output (`depth` + 2 in all), and every block's maps.

        The maps stay in the graph. Grad-CAM needs the gradient of `maps[n].weights`: call their `retain_grads()`, then
        `backward()` (`paddle.grad` of an inner tensor is not reliable: it can leave paths of the graph out).
        """
        trail, all_maps = [self.embed(images)], []
        for block in self.blocks:
            tokens, maps = block(trail[-1], need_maps=True)
            trail.append(tokens)
            all_maps.append(maps)
        return [*trail, self.norm(trail[-1])], all_maps


def resize_positions(positions: np.ndarray, tokens: int) -> np.ndarray:
    """Position embeddings `[1, 1 + old², width]` for another number of `tokens` (1 + new²), bicubic on the grid.

    The class token's entry stays. Returns `[1, tokens, width]` float32; the same array when the grid is the same.
    ValueError when either number of tokens is not 1 + a square.
    """
    if positions.shape[1] == tokens:
        return positions
    old, new = _side(positions.shape[1]), _side(tokens)
    # [1, old², width] -> [1, width, old, old]
    grid = paddle.to_tensor(positions[:, 1:].astype("float32")).reshape([1, old, old, -1]).transpose([0, 3, 1, 2])
    grid = F.interpolate(grid, size=[new, new], mode="bicubic", align_corners=False)
    grid = grid.transpose([0, 2, 3, 1]).reshape([1, new * new, -1]).numpy()
    return np.concatenate([positions[:, :1].astype("float32"), grid], axis=1)


def adapt_positions(name: str, array: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray | None:
    """`resize_positions` as a hook of strict loading: for tensors named `….positions` `[1, tokens, width]` of equal
    width; None for all others."""
    fits = array.ndim == 3 and len(wanted) == 3 and array.shape[2] == wanted[2]
    return resize_positions(array, wanted[1]) if fits and name.endswith("positions") else None


def _side(tokens: int) -> int:
    side = round((tokens - 1) ** 0.5)
    if side * side != tokens - 1:
        raise ValueError(f"{tokens} position embeddings are not a class token and a square grid")
    return side
