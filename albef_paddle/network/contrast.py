"""What pre-training and retrieval share: two encoders, the contrastive loss with queues, and image-text matching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from albef_paddle.config import AlbefConfig
from albef_paddle.network.ema import Teacher
from albef_paddle.network.negatives import Negatives, draw_negatives
from albef_paddle.network.queues import FeatureQueue
from albef_paddle.network.text_encoder import text_encoder
from pyutils import distributed
from pyutils.distributed import gather_rows
from pyutils.engine.precision import fp32_island
from pyutils.layers.attention import KeyValue
from pyutils.layers.initializers import linear
from pyutils.layers.vit import VisionTransformer
from pyutils.losses import IGNORE, contrastive_positives, contrastive_targets, itc_loss, masked_cross_entropy
from pyutils.packages import PretrainedModel

TOWERS = ("vision", "text", "vision_projection", "text_projection")


class Encoded(NamedTuple):
    """`image_tokens` `[batch, 1 + patches, width]`, `text_states` `[batch, t, hidden]`, and the unit features that are
    compared, `image_feature` and `text_feature` `[batch, embed_dim]` float32."""

    image_tokens: paddle.Tensor
    text_states: paddle.Tensor
    image_feature: paddle.Tensor
    text_feature: paddle.Tensor


class TeacherEmbeddings(NamedTuple):
    """The teacher's features that a batch is compared with: `images` and `texts` `[n, embed_dim]` float32 and, with
    several texts an image, `identities` `[n]` int64; this process's own batch starts at row `first`."""

    images: paddle.Tensor
    texts: paddle.Tensor
    identities: paddle.Tensor | None = None
    first: int = 0


class ItcOutput(NamedTuple):
    """Similarities over the temperature and their targets, `[batch, n + queue]` float32 each, the n compared rows
    first; the loss, a scalar; inside this process's batch, `[batch, batch]` each: `image_to_text_within` and
    `text_to_image_within`, and `positives` (bool), pairs that belong together."""

    image_to_text: paddle.Tensor
    text_to_image: paddle.Tensor
    image_targets: paddle.Tensor
    text_targets: paddle.Tensor
    loss: paddle.Tensor
    image_to_text_within: paddle.Tensor
    text_to_image_within: paddle.Tensor
    positives: paddle.Tensor


class ItmOutput(NamedTuple):
    """`logits` `[3 · batch, 2]` (class 1 = they match): the pairs, each text with a wrong image, each image with a
    wrong text; `labels` `[3 · batch]` int64; the loss, a scalar."""

    logits: paddle.Tensor
    labels: paddle.Tensor
    loss: paddle.Tensor


def unit_feature(projection: nn.Layer, states: paddle.Tensor) -> paddle.Tensor:
    """The feature of the first token, of length 1: `[batch, tokens, size]` → `[batch, embed_dim]` float32."""
    projected = projection(states[:, 0])
    with fp32_island():
        return F.normalize(projected.astype("float32"), axis=-1)


def encode_pairs(parts: nn.Layer, images: paddle.Tensor, input_ids: paddle.Tensor, text_mask: paddle.Tensor) -> Encoded:
    """Images and texts through the towers of `parts` (a model or its teacher), each by itself.

    `images` `[batch, 3, size, size]` float32; `input_ids` and `text_mask` `[batch, t]` int64.
    """
    tokens, states = parts.vision(images), parts.text.encode(input_ids, text_mask)
    return Encoded(
        tokens,
        states,
        unit_feature(parts.vision_projection, tokens),
        unit_feature(parts.text_projection, states),
    )


def compared(teacher: Encoded, identities: paddle.Tensor | None = None) -> TeacherEmbeddings:
    """What a batch is compared with where no other process takes part; `identities` `[batch]` int64."""
    return TeacherEmbeddings(teacher.image_feature, teacher.text_feature, identities)


def gather_compared(teacher: Encoded, identities: paddle.Tensor | None = None) -> TeacherEmbeddings:
    """The same with the rows of every process, so that a step does not depend on how many share its batch. Every
    process must call it with as many rows."""
    return TeacherEmbeddings(
        gather_rows(teacher.image_feature),
        gather_rows(teacher.text_feature),
        None if identities is None else gather_rows(identities),
        distributed.rank() * teacher.image_feature.shape[0],
    )


class ContrastiveModel(PretrainedModel, nn.Layer):
    """Image and text towers, the queue, and the matching head (class 1 = they match). A subclass adds `teacher`, which
    holds momentum copies of the towers at least.

    `with_identities`: the queue keeps image identities, for data with several texts an image.
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

    def make_teacher(self, names: tuple[str, ...]) -> Teacher:
        """A teacher with copies of the parts `names`."""
        return Teacher(self, names, self.config.momentum, self.config.teacher_dropout)

    def contrast(self, own: Encoded, others: TeacherEmbeddings, alpha: float) -> ItcOutput:
        """The contrastive loss of a batch against the teacher's rows and the queue (equations 1, 2 and 6).

        `alpha`: weight of the teacher's similarities in the targets. Pairs of equal identity belong together; without
        identities each pair is its own.
        """
        here = slice(others.first, others.first + own.image_feature.shape[0])
        with fp32_island():
            texts = paddle.concat([others.texts.t(), self.queue.texts], axis=1)  # [embed_dim, n + queue]
            images = paddle.concat([others.images.t(), self.queue.images], axis=1)
            targets = self._positives(others, here)
            image_targets = text_targets = targets
            if self.config.distill:
                image_targets = self._distilled(others.images[here], texts, targets, alpha)
                text_targets = self._distilled(others.texts[here], images, targets, alpha)
            image_to_text = paddle.matmul(own.image_feature, texts) / self.temperature
            text_to_image = paddle.matmul(own.text_feature, images) / self.temperature
            loss = itc_loss(image_to_text, text_to_image, image_targets, text_targets)
        within = (image_to_text[:, here], text_to_image[:, here], targets[:, here] > 0)
        return ItcOutput(image_to_text, text_to_image, image_targets, text_targets, loss, *within)

    def _positives(self, others: TeacherEmbeddings, here: slice) -> paddle.Tensor:
        """Which columns belong to the rows `here`: `[batch, n + queue]` float32 whose rows sum to 1."""
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

    def match_scores(
        self,
        text_states: paddle.Tensor,
        text_mask: paddle.Tensor | None,
        memories: Sequence[KeyValue],
        attended: bool = False,
    ) -> paddle.Tensor:
        """Matching logits `[batch, 2]` of text states `[batch, t, hidden]` with the images whose `memories` are given.

        Memories of one image serve a batch of texts. Only the state of the first token is computed in the last layer.
        `attended`: see `TextEncoder.fuse`.
        """
        return self.matching(self.text.fuse(text_states, text_mask, memories, read_at=0, attended=attended)[:, 0])

    def match(
        self,
        own: Encoded,
        text_mask: paddle.Tensor,
        memories: Sequence[KeyValue],
        contrast: ItcOutput,
        negatives: Negatives | None = None,
    ) -> ItmOutput:
        """Image-text matching on the pairs of the batch and on hard negatives (equation 4).

        `memories` of `own.image_tokens`: projected once, then gathered for the negatives. `negatives`: draws to use
        instead of new ones. A pair for which the batch holds no negative is left out on that side.
        """
        batch = own.image_feature.shape[0]
        if negatives is None:
            within = (contrast.image_to_text_within, contrast.text_to_image_within)
            negatives = draw_negatives(*within, contrast.positives)
        rows = paddle.arange(batch, dtype="int64")
        image_rows = paddle.concat([rows, negatives.images, rows])
        text_rows = paddle.concat([rows, rows, negatives.texts])
        logits = self.match_scores(
            paddle.gather(own.text_states, text_rows),
            paddle.gather(text_mask, text_rows),
            [memory.gather(image_rows) for memory in memories],
        )
        alone = contrast.positives.all(axis=1).astype("int64") * IGNORE
        labels = paddle.concat([paddle.ones([batch], dtype="int64"), alone, alone])
        return ItmOutput(logits, labels, masked_cross_entropy(logits, labels))
