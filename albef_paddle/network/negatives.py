"""Hard negatives for image-text matching, drawn from the batch by contrastive similarity (arXiv 2107.07651, §3.2)."""

from __future__ import annotations

from typing import NamedTuple

import paddle

from pyutils.errors import InputError
from pyutils.losses import hard_negative_weights

_SMALLEST_WEIGHT = 1e-30  # keeps a negative possible where the softmax underflows


class Negatives(NamedTuple):
    """Rows of the batch, `[batch]` int64: wrong `images` for the texts, and wrong `texts` for the images."""

    images: paddle.Tensor
    texts: paddle.Tensor


@paddle.no_grad()
def draw_negatives(image_to_text: paddle.Tensor, text_to_image: paddle.Tensor, positives: paddle.Tensor) -> Negatives:
    """One negative for every text and every image.

    `image_to_text` and `text_to_image`: similarities inside the batch over the temperature, `[batch, batch]`;
    `positives` `[batch, batch]` bool, pairs that belong together. InputError when the batch has under 2 pairs. A row
    without any negative gets an arbitrary one: leave it out of the loss.
    """
    batch = positives.shape[0]
    if batch < 2:
        raise InputError(
            f"image-text matching needs a wrong text for every image: expected a batch of at least 2 pairs on every "
            f"process, found {batch}. Raise train.batch_size"
        )
    weights = paddle.concat(
        [hard_negative_weights(text_to_image, positives), hard_negative_weights(image_to_text, positives)]
    )
    return Negatives(*sample_rows(weights, paddle.concat([positives, positives]), 1).reshape([2, batch]).unbind())


def sample_rows(weights: paddle.Tensor, excluded: paddle.Tensor, count: int) -> paddle.Tensor:
    """`count` different columns of each row by weight, in one call: `[rows, columns]` float32 → `[rows, count]` int64.

    Those that `excluded` (bool, same shape) marks are never drawn unless a row has no other.
    """
    excluded = paddle.logical_and(excluded, (~excluded).any(axis=1, keepdim=True))
    floor = paddle.full_like(weights, _SMALLEST_WEIGHT)
    weights = paddle.where(excluded, paddle.zeros_like(weights), paddle.maximum(weights, floor))
    return paddle.multinomial(weights, count)
