"""Image-text contrast: normalised features, the in-batch ITC loss, hard negatives for ITM (arXiv 2107.07651, §3.2)."""

from __future__ import annotations

from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from pyutils.compat import fp32_island
from pyutils.layers.bert_config import ContrastConfig
from pyutils.layers.initializers import linear
from pyutils.losses import IGNORE, contrastive_positives, hard_negative_weights, itc_loss, masked_cross_entropy

_SMALLEST_WEIGHT = 1e-30  # so that a negative can be drawn where the softmax underflows


class Negatives(NamedTuple):
    """Rows of the batch, `[batch]` int64: negative `images` for the texts, negative `texts` for the images."""

    images: paddle.Tensor
    texts: paddle.Tensor


@paddle.no_grad()
def draw_negatives(image_to_text: paddle.Tensor, text_to_image: paddle.Tensor, positives: paddle.Tensor) -> Negatives:
    """Draw one negative for every text and every image.

    `image_to_text` and `text_to_image`: similarities within the batch divided by the temperature, `[batch, batch]`;
    `positives` `[batch, batch]` bool. A row without any negative gets an arbitrary one: exclude it from the loss.
    """
    weights = paddle.concat(
        [hard_negative_weights(text_to_image, positives), hard_negative_weights(image_to_text, positives)]
    )
    return Negatives(*sample_rows(weights, paddle.concat([positives, positives]), 1).reshape([2, -1]).unbind())


def sample_rows(weights: paddle.Tensor, excluded: paddle.Tensor, count: int) -> paddle.Tensor:
    """Draw `count` different columns of each row by weight: `[rows, columns]` float32 → `[rows, count]` int64.

    `excluded` (bool, same shape) columns are never drawn unless a row has no other.
    """
    excluded = paddle.logical_and(excluded, (~excluded).any(axis=1, keepdim=True))
    floor = paddle.full_like(weights, _SMALLEST_WEIGHT)
    weights = paddle.where(excluded, paddle.zeros_like(weights), paddle.maximum(weights, floor))
    return paddle.multinomial(weights, count)


class ItmRows(NamedTuple):
    """Pairs of a batch for ITM, `[3 · batch]` int64 each: right pairs, each text with a negative image, each image with
    a negative text. `labels`: 1 = match, `IGNORE` where the batch has no negative."""

    images: paddle.Tensor
    texts: paddle.Tensor
    labels: paddle.Tensor


def itm_rows(negatives: Negatives, positives: paddle.Tensor) -> ItmRows:
    """Combine the pairs of a batch with their negatives; `positives` `[batch, batch]` bool."""
    batch = positives.shape[0]
    rows = paddle.arange(batch, dtype="int64")
    alone = positives.all(axis=1).astype("int64") * IGNORE
    return ItmRows(
        paddle.concat([rows, negatives.images, rows]),
        paddle.concat([rows, rows, negatives.texts]),
        paddle.concat([paddle.ones([batch], dtype="int64"), alone, alone]),
    )


class ContrastOutput(NamedTuple):
    """`loss`: the ITC loss of the batch, a scalar. `rows`: pairs for ITM with hard negatives drawn by similarity."""

    loss: paddle.Tensor
    rows: ItmRows


class ContrastiveHead(nn.Layer):
    """Two projections into one space and a trained temperature: makes a dual encoder of a model with two encoders.

    A stream is averaged over its tokens, because region streams have no trained [CLS] and sentence encoders are
    trained with averages. The loss compares the pairs of one process's batch.
    """

    def __init__(self, config: ContrastConfig, image_size: int, text_size: int, init_std: float = 0.02):
        super().__init__()
        self.image_projection = linear(image_size, config.dim, init_std)
        self.text_projection = linear(text_size, config.dim, init_std)
        start = nn.initializer.Constant(config.temperature)
        self.temperature = self.create_parameter([], default_initializer=start)

    def image_features(self, states: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
        """`[n, r, image_size]`, mask `[n, r]` → unit features `[n, dim]` float32."""
        return _unit(self.image_projection(mean_of_tokens(states, mask)))

    def text_features(self, states: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
        """`[n, t, text_size]`, mask `[n, t]` → unit features `[n, dim]` float32."""
        return _unit(self.text_projection(mean_of_tokens(states, mask)))

    def forward(self, images: paddle.Tensor, texts: paddle.Tensor, identities: paddle.Tensor) -> ContrastOutput:
        """Contrast unit features `[batch, dim]` of the pairs of a batch; pairs of equal `identities` `[batch]` int64
        are positives of one another."""
        with fp32_island():
            targets = contrastive_positives(identities, identities)
            # A temperature that reaches zero would divide by it: ALBEF's lower limit.
            similarities = paddle.matmul(images, texts, transpose_y=True) / paddle.clip(self.temperature, min=0.001)
            loss = itc_loss(similarities, similarities.t(), targets, targets)
        positives = targets > 0
        negatives = draw_negatives(similarities.detach(), similarities.detach().t(), positives)
        return ContrastOutput(loss, itm_rows(negatives, positives))


def mean_of_tokens(states: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
    """Mean over the tokens that `mask` `[n, t]` (1 = token) keeps: `[n, t, size]` → `[n, size]`."""
    weights = mask.astype(states.dtype).unsqueeze(-1)
    return (states * weights).sum(axis=1) / paddle.clip(weights.sum(axis=1), min=1.0)


def _unit(vectors: paddle.Tensor) -> paddle.Tensor:
    with fp32_island():
        return F.normalize(vectors.astype("float32"), axis=-1)


def itm_loss(logits: paddle.Tensor, rows: ItmRows) -> paddle.Tensor:
    """Mean cross entropy of ITM `logits` `[3 · batch, 2]` (class 1 = match) of `rows`; a scalar."""
    return masked_cross_entropy(logits, rows.labels)
