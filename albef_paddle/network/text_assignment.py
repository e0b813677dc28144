"""Text assignment (TA), the additional pre-training before NLVR2 (arXiv 2107.07651, section 4.3)."""

from __future__ import annotations

from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from albef_paddle.config import AlbefConfig
from albef_paddle.network.itc import unit_features
from albef_paddle.network.text_encoder import text_encoder
from pyutils.layers.contrast import sample_rows
from pyutils.layers.initializers import linear
from pyutils.layers.vit import VisionTransformer
from pyutils.losses import masked_cross_entropy
from pyutils.packages import PretrainedModel

OWN_FIRST, OWN_SECOND, NEITHER = 0, 1, 2
_TEMPERATURE = 0.07
_NEITHER_SHARE = 1.0 / 3.0


class Assignment(NamedTuple):
    """Rows of the batch used as `first` and `second` image of each text, and the classes `labels`; `[batch]` int64."""

    first: paddle.Tensor
    second: paddle.Tensor
    labels: paddle.Tensor


@paddle.no_grad()
def other_image_weights(features: paddle.Tensor) -> paddle.Tensor:
    """Compute sampling weights of other images by similarity: unit `features` `[batch, embed_dim]` → `[batch, batch]`
    float32, zero on the diagonal."""
    similarities = paddle.matmul(features, features, transpose_y=True) / _TEMPERATURE
    return F.softmax(similarities, axis=1) * (1.0 - paddle.eye(features.shape[0]))


@paddle.no_grad()
def draw_assignment(weights: paddle.Tensor) -> Assignment:
    """Draw two other images for a third of the texts, and for the rest their own image, first or second, and another.

    `weights` are those of `other_image_weights`; at least 3 rows (`AlbefTextAssignment.least_batch`).
    """
    batch = weights.shape[0]
    others = sample_rows(weights, paddle.eye(batch) > 0, 2)
    own, chance = paddle.arange(batch, dtype="int64"), paddle.rand([batch, 2])
    neither, own_first = chance[:, 0] <= _NEITHER_SHARE, chance[:, 1] > 0.5
    labels = paddle.where(own_first, paddle.full_like(own, OWN_FIRST), paddle.full_like(own, OWN_SECOND))
    labels = paddle.where(neither, paddle.full_like(own, NEITHER), labels)
    first = paddle.where(labels == OWN_FIRST, own, others[:, 0])
    second = paddle.where(labels == OWN_SECOND, own, paddle.where(neither, others[:, 1], others[:, 0]))
    return Assignment(first, second, labels)


class AlbefForTextAssignment(PretrainedModel, nn.Layer):
    """Three classes: the text belongs to the first image, the second, or neither. There is no teacher."""

    def __init__(self, config: AlbefConfig):
        super().__init__()
        self.config = config
        self.vision = VisionTransformer(config.vision.shape())
        self.text = text_encoder(config.text, config.vision.width, images=2)
        self.vision_projection = linear(config.vision.width, config.embed_dim)
        for parameter in self.vision_projection.parameters():
            parameter.stop_gradient = True  # used only to find similar images
        self.assignment = linear(config.text.hidden_size, 3)

    def logits(
        self, image_states: paddle.Tensor, input_ids: paddle.Tensor, text_mask: paddle.Tensor, assigned: Assignment
    ) -> paddle.Tensor:
        """Compute `[batch, 3]`; `image_states` `[batch, tokens, width]` are projected once, then gathered."""
        memories = self.text.memories(image_states)
        rows = (assigned.first, assigned.second)
        memories = [memory.gather(rows[number % 2]) for number, memory in enumerate(memories)]
        return self.assignment(self.text(input_ids, text_mask, memories, read_at=0)[:, 0])

    def forward(
        self,
        images: paddle.Tensor,
        input_ids: paddle.Tensor,
        text_mask: paddle.Tensor,
        assigned: Assignment | None = None,
    ) -> paddle.Tensor:
        """Compute the loss, a scalar. `images` `[batch, 3, size, size]` float32, one per text; `input_ids`, `text_mask`
        `[batch, t]` int64; `assigned`: draws to use instead of new ones."""
        image_states = self.vision(images)
        if assigned is None:
            with paddle.no_grad():
                features = unit_features(self.vision_projection, image_states)
            assigned = draw_assignment(other_image_weights(features))
        return masked_cross_entropy(self.logits(image_states, input_ids, text_mask, assigned), assigned.labels)
