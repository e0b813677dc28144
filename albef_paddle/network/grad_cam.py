"""Grad-CAM (Selvaraju et al., arXiv 1610.02391) on ALBEF's attention (arXiv 2107.07651, section 6.4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle
import paddle.nn.functional as F
from paddle import nn

from albef_paddle.config import AlbefConfig
from albef_paddle.network.itc import ContrastiveModel, unit_features
from pyutils.errors import InputError
from pyutils.layers.attention import attention_bias

MODES = ("itm", "itc")
_PUBLISHED_BLOCK = 8


def text_maps(
    model: ContrastiveModel,
    mode: str,
    block: int,
    images: paddle.Tensor,
    ids: paddle.Tensor,
    mask: paddle.Tensor,
    words_only: bool = False,
) -> paddle.Tensor:
    """Compute one map per pair, `[batch, grid, grid]` float32: mode `itm` averages `word_maps` over all positions
    of the text, with [CLS] and padding unless `words_only`; `itc` is `image_maps`. Other arguments as there."""
    if mode == "itc":
        return image_maps(model, block, images, ids, mask)
    maps = word_maps(model, block, images, ids, mask)[0]
    if not words_only:
        return maps.mean(axis=1)
    words = mask.astype(maps.dtype)[:, 1:, None, None]
    return (maps[:, 1:] * words).sum(axis=1) / paddle.clip(words.sum(axis=1), min=1.0)


def blocks(config: AlbefConfig, mode: str) -> range:
    """List the blocks available in a mode: text layers with cross-attention for `itm`, blocks of the vision transformer
    for `itc`, both counted from 0."""
    text = config.text
    return range(text.fusion_layer, text.num_layers) if mode == "itm" else range(config.vision.depth)


def default_block(config: AlbefConfig, mode: str) -> int:
    """Choose block 8, as in the paper; in smaller networks the last, for `itm` the one before it if there is one.

    In the last text layer only [CLS] reaches the ITM score, so the words have no maps.
    """
    found = blocks(config, mode)
    last = found[-2] if mode == "itm" and len(found) > 1 else found[-1]
    return max(found[0], min(_PUBLISHED_BLOCK, last))


def check_block(config: AlbefConfig, mode: str, block: int, words_only: bool = False) -> None:
    """Raise InputError if the mode has no such block or, with `words_only`, the words have no maps there."""
    found = blocks(config, mode)
    if words_only and mode == "itm":
        found = found[:-1]  # in the last block only [CLS] reaches the score
    if block not in found:
        words = " with words_only" if words_only else ""
        raise InputError(f"block_num: expected one of {[*found]} for mode {mode}{words} and this model, found {block}")


def word_maps(
    model: ContrastiveModel, block: int, images: paddle.Tensor, ids: paddle.Tensor, mask: paddle.Tensor
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Weight the cross-attention of text layer `block` by the positive gradient of the ITM score; mean over heads.

    `images` `[batch, 3, size, size]` float32; `ids` and `mask` `[batch, t]` int64. Returns the maps `[batch, t, grid,
    grid]` and the ITM logits `[batch, 2]`, float32 both, without gradient.
    """
    with _gradients_dropped(model):
        states, memories = model.text.encode(ids, mask), model.text.memories(model.vision(images))
        with paddle.enable_grad():
            states = states.detach()
            states.stop_gradient = False
            trail, maps = model.text.fusion_layers.trace(states, attention_bias(mask), memories)
            logits = model.matching(trail[-1][:, 0])
            crossed = maps[block - model.config.text.fusion_layer].cross_attention
            assert crossed is not None
            found = _weighted(crossed.weights, logits[:, 1].sum())
    return _on_grid(found), logits.detach()


def image_maps(
    model: ContrastiveModel, block: int, images: paddle.Tensor, ids: paddle.Tensor, mask: paddle.Tensor
) -> paddle.Tensor:
    """Weight the class token's attention in block `block` of the vision transformer by the positive gradient of the ITC
    similarity; mean over heads: `[batch, grid, grid]` float32. Arguments as in `word_maps`."""
    with _gradients_dropped(model):
        texts = unit_features(model.text_projection, model.text.encode(ids, mask)).detach()
        with paddle.enable_grad():
            images = images.detach()
            images.stop_gradient = False
            trail, maps = model.vision.trace(images)
            features = unit_features(model.vision_projection, trail[-1])
            similar = (features * texts).sum() / model.temperature
            found = _weighted(maps[block].weights, similar)
    return _on_grid(found[:, :1])[:, 0]


def _weighted(attention: paddle.Tensor, score: paddle.Tensor) -> paddle.Tensor:
    """Multiply attention by its positive gradient and average over heads: `[batch, queries, 1 + patches]`."""
    attention.retain_grads()
    score.backward()
    return (attention.detach() * F.relu(attention.grad)).mean(axis=1)


def _on_grid(found: paddle.Tensor) -> paddle.Tensor:
    """`[batch, queries, 1 + grid²]` → `[batch, queries, grid, grid]`, without the class token."""
    batch, queries, tokens = found.shape
    side = round((tokens - 1) ** 0.5)
    return found[:, :, 1:].reshape([batch, queries, side, side])


@contextmanager
def _gradients_dropped(model: nn.Layer) -> Iterator[None]:
    """Disable gradients inside, and drop those that parameters collected.

    Freezing the parameters instead gives wrong results: on the CPU, Paddle computes a wrong gradient of a LayerNorm's
    input when its weight is frozen.
    """
    try:
        with paddle.no_grad():
            yield
    finally:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.clear_gradient(False)  # positional: Paddle ignores the keyword set_to_zero
