"""ITC with momentum queues and ITM, shared by pre-training and retrieval (arXiv 2107.07651, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from albef_paddle.config import AlbefConfig
from albef_paddle.network.queues import FeatureQueue
from albef_paddle.network.text_encoder import text_encoder
from pyutils import distributed
from pyutils.compat import fp32_island
from pyutils.distributed import gather_rows
from pyutils.layers.attention import KeyValue
from pyutils.layers.contrast import Negatives, draw_negatives, itm_loss, itm_rows
from pyutils.layers.initializers import linear
from pyutils.layers.vit import VisionTransformer
from pyutils.losses import contrastive_positives, contrastive_targets, itc_loss
from pyutils.packages import PretrainedModel

TOWERS = ("vision", "text", "vision_projection", "text_projection")


class UnimodalOutput(NamedTuple):
    """Hidden states `image_states` `[batch, 1 + patches, width]` and `text_states` `[batch, t, hidden]`, and their
    normalised projections `image_features` and `text_features` `[batch, embed_dim]` float32."""

    image_states: paddle.Tensor
    text_states: paddle.Tensor
    image_features: paddle.Tensor
    text_features: paddle.Tensor


class TeacherFeatures(NamedTuple):
    """The teacher's features: `images` and `texts` `[n, embed_dim]` float32 and, with several texts per image,
    `identities` `[n]` int64; this process's own batch starts at row `first`."""

    images: paddle.Tensor
    texts: paddle.Tensor
    identities: paddle.Tensor | None = None
    first: int = 0


class ItcOutput(NamedTuple):
    """Similarities divided by the temperature and their targets, `[batch, n + queue]` float32 each, the n rows of the
    teacher first; the loss, a scalar; within this process's batch, `[batch, batch]` each: `image_to_text_within`,
    `text_to_image_within`, and `positives` (bool)."""

    image_to_text: paddle.Tensor
    text_to_image: paddle.Tensor
    image_targets: paddle.Tensor
    text_targets: paddle.Tensor
    loss: paddle.Tensor
    image_to_text_within: paddle.Tensor
    text_to_image_within: paddle.Tensor
    positives: paddle.Tensor


class ItmOutput(NamedTuple):
    """`logits` `[3 · batch, 2]` (class 1 = match): the pairs, each text with a negative image, each image with a
    negative text; `labels` `[3 · batch]` int64; the loss, a scalar."""

    logits: paddle.Tensor
    labels: paddle.Tensor
    loss: paddle.Tensor


def unit_features(projection: nn.Layer, states: paddle.Tensor) -> paddle.Tensor:
    """Project and normalise the first token: `[batch, tokens, size]` → `[batch, embed_dim]` float32."""
    projected = projection(states[:, 0])
    with fp32_island():
        return F.normalize(projected.astype("float32"), axis=-1)


def encode_pairs(
    parts: nn.Layer, images: paddle.Tensor, input_ids: paddle.Tensor, text_mask: paddle.Tensor
) -> UnimodalOutput:
    """Encode images and texts separately with `parts`, a model or its teacher.

    `images` `[batch, 3, size, size]` float32; `input_ids` and `text_mask` `[batch, t]` int64.
    """
    image_states, text_states = parts.vision(images), parts.text.encode(input_ids, text_mask)
    return UnimodalOutput(
        image_states,
        text_states,
        unit_features(parts.vision_projection, image_states),
        unit_features(parts.text_projection, text_states),
    )


def teacher_features(
    teacher: UnimodalOutput, identities: paddle.Tensor | None = None, gather: bool = True
) -> TeacherFeatures:
    """Select the teacher's features; `identities` `[batch]` int64.

    With `gather`, the rows of every process, so that a step does not depend on how many share its batch; every process
    must then call it with the same number of rows.
    """
    if not gather:
        return TeacherFeatures(teacher.image_features, teacher.text_features, identities)
    return TeacherFeatures(
        gather_rows(teacher.image_features),
        gather_rows(teacher.text_features),
        None if identities is None else gather_rows(identities),
        distributed.rank() * teacher.image_features.shape[0],
    )


class ContrastiveModel(PretrainedModel, nn.Layer):
    """Image and text encoders, the feature queue, and the ITM head (class 1 = match).

    A subclass adds `teacher` with momentum copies of at least `TOWERS`. `with_identities`: the queue keeps image
    identities, for data with several texts per image.
    """

    def __init__(self, config: AlbefConfig, with_identities: bool):
        super().__init__()
        self.config = config
        self.vision = VisionTransformer(config.vision.shape())
        self.text = text_encoder(config.text, config.vision.width)
        self.vision_projection = linear(config.vision.width, config.embed_dim)
        self.text_projection = linear(config.text.hidden_size, config.embed_dim)
        self.matching = linear(config.text.hidden_size, 2)
        self.temperature = self.create_parameter([], default_initializer=nn.initializer.Constant(config.temperature))
        self.queue = FeatureQueue(config.embed_dim, config.queue_size, with_identities)

    def itc(self, own: UnimodalOutput, others: TeacherFeatures, alpha: float) -> ItcOutput:
        """Compute the ITC loss of a batch against the teacher's features and the queue (equations 1, 2 and 6).

        `alpha`: weight of the teacher's similarities in the targets. Pairs of equal identity are positives; without
        identities each pair is positive only with itself.
        """
        here = slice(others.first, others.first + own.image_features.shape[0])
        with fp32_island():
            texts = paddle.concat([others.texts.t(), self.queue.texts], axis=1)  # [embed_dim, n + queue]
            images = paddle.concat([others.images.t(), self.queue.images], axis=1)
            targets = self._positives(others, here)
            image_targets = text_targets = targets
            if self.config.distill:
                image_targets = self._distilled(others.images[here], texts, targets, alpha)
                text_targets = self._distilled(others.texts[here], images, targets, alpha)
            image_to_text = paddle.matmul(own.image_features, texts) / self.temperature
            text_to_image = paddle.matmul(own.text_features, images) / self.temperature
            loss = itc_loss(image_to_text, text_to_image, image_targets, text_targets)
        within = (image_to_text[:, here], text_to_image[:, here], targets[:, here] > 0)
        return ItcOutput(image_to_text, text_to_image, image_targets, text_targets, loss, *within)

    def _positives(self, others: TeacherFeatures, here: slice) -> paddle.Tensor:
        """Target distribution over the columns for the rows `here`: `[batch, n + queue]` float32, rows sum to 1."""
        rows = others.images.shape[0]
        if others.identities is None:
            return paddle.eye(rows, rows + self.queue.size)[here]
        known = paddle.concat([others.identities, self.queue.identities[0]])
        return contrastive_positives(others.identities[here], known)

    def _distilled(
        self, features: paddle.Tensor, others: paddle.Tensor, positives: paddle.Tensor, alpha: float
    ) -> paddle.Tensor:
        similarities = paddle.matmul(features, others) / self.temperature.detach()
        return contrastive_targets(similarities, positives, alpha)

    def itm_logits(
        self,
        text_states: paddle.Tensor,
        text_mask: paddle.Tensor | None,
        memories: Sequence[KeyValue],
        attended: bool = False,
    ) -> paddle.Tensor:
        """Compute ITM logits `[batch, 2]` of text states `[batch, t, hidden]` with the images of `memories`.

        Memories of one image are shared by a batch of texts. The last layer computes only the first token.
        `attended`: see `TextEncoder.fuse`.
        """
        return self.matching(self.text.fuse(text_states, text_mask, memories, read_at=0, attended=attended)[:, 0])

    def itm(
        self,
        own: UnimodalOutput,
        text_mask: paddle.Tensor,
        memories: Sequence[KeyValue],
        itc: ItcOutput,
        negatives: Negatives | None = None,
    ) -> ItmOutput:
        """Compute the ITM loss on the pairs of the batch and on hard negatives (equation 4).

        `memories` of `own.image_states` are gathered for the negatives, not projected again. `negatives`: draws to use
        instead of new ones. A pair without a negative in the batch is ignored on that side.
        """
        if negatives is None:
            negatives = draw_negatives(itc.image_to_text_within, itc.text_to_image_within, itc.positives)
        rows = itm_rows(negatives, itc.positives)
        logits = self.itm_logits(
            paddle.gather(own.text_states, rows.texts),
            paddle.gather(text_mask, rows.texts),
            [memory.gather(rows.images) for memory in memories],
        )
        return ItmOutput(logits, rows.labels, itm_loss(logits, rows))
