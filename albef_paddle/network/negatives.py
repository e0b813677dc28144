"""Hard negatives for ITM, drawn from the batch by ITC similarity (arXiv 2107.07651, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import paddle

from pyutils.losses import hard_negative_weights

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
