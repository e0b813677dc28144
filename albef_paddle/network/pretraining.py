"""ALBEF's pre-training: ITC, ITM and MLM, with momentum distillation (arXiv 2107.07651, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import paddle

from albef_paddle.config import AlbefConfig
from albef_paddle.network.ema import Teacher
from albef_paddle.network.itc import TOWERS, ContrastiveModel, UnimodalOutput, encode_pairs, teacher_features
from albef_paddle.network.text_encoder import labelled_positions, language_head, take_flat
from pyutils.layers.attention import KeyValue
from pyutils.layers.contrast import Negatives
from pyutils.losses import distilled_cross_entropy, masked_cross_entropy

TEMPERATURE_RANGE = (0.001, 0.5)


class PretrainingLosses(NamedTuple):
    """Scalar losses."""

    mlm: paddle.Tensor
    itc: paddle.Tensor
    itm: paddle.Tensor


class AlbefForPretraining(ContrastiveModel):
    """All three objectives. Call `teacher.update(model)` before the first forward pass of every optimizer step."""

    def __init__(self, config: AlbefConfig):
        super().__init__(config, with_identities=False)
        self.words = language_head(config.text)
        self.teacher = Teacher(self, (*TOWERS, "words"))

    @paddle.no_grad()
    def clamp_temperature(self) -> None:
        """Keep the temperature in `TEMPERATURE_RANGE`, in place."""
        paddle.assign(paddle.clip(self.temperature, *TEMPERATURE_RANGE), output=self.temperature)

    def mlm_loss(
        self,
        masked_ids: paddle.Tensor,
        text_mask: paddle.Tensor,
        labels: paddle.Tensor,
        memories: Sequence[KeyValue],
        teacher: UnimodalOutput,
        alpha: float,
    ) -> paddle.Tensor:
        """Compute the MLM loss (equations 3 and 7), a scalar; only labelled positions are scored.

        `masked_ids` and `labels` `[batch, t]` int64, labels -100 where nothing is predicted; `memories` of the images.
        """
        positions, targets = labelled_positions(labels)

        def logits_of(parts, memories: Sequence[KeyValue]) -> paddle.Tensor:
            states = parts.text(masked_ids, text_mask, memories)
            return parts.words(take_flat(states, positions), parts.text.word_table)

        logits = logits_of(self, memories)
        if not self.config.distill:
            return masked_cross_entropy(logits, targets)
        with paddle.no_grad():
            teacher_logits = logits_of(self.teacher, self.teacher.text.memories(teacher.image_states))
        return distilled_cross_entropy(logits, targets, teacher_logits, alpha)

    def forward(
        self,
        images: paddle.Tensor,
        input_ids: paddle.Tensor,
        text_mask: paddle.Tensor,
        masked_ids: paddle.Tensor,
        word_labels: paddle.Tensor,
        alpha: float,
        negatives: Negatives | None = None,
    ) -> PretrainingLosses:
        """Clamp the temperature, compute the losses of a batch, and add the teacher's features to the queue.

        `images` `[batch, 3, size, size]` float32; `input_ids`, `text_mask`, `masked_ids`, `word_labels` `[batch, t]`
        int64; `alpha`: weight of the teacher; `negatives`: draws to use instead of new ones.
        """
        self.clamp_temperature()
        own = encode_pairs(self, images, input_ids, text_mask)
        with paddle.no_grad():
            teacher = encode_pairs(self.teacher, images, input_ids, text_mask)
        features = teacher_features(teacher)
        itc = self.itc(own, features, alpha)
        self.queue.enqueue(features.images, features.texts)
        memories = self.text.memories(own.image_states)
        itm = self.itm(own, text_mask, memories, itc, negatives)
        mlm = self.mlm_loss(masked_ids, text_mask, word_labels, memories, teacher, alpha)
        return PretrainingLosses(mlm, itc.loss, itm.loss)
