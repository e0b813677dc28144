"""ALBEF's pre-training: contrast, matching and masked words, each with momentum distillation (arXiv 2107.07651, §3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import paddle

from albef_paddle.config import AlbefConfig
from albef_paddle.network.contrast import TOWERS, ContrastiveModel, Encoded, encode_pairs, gather_compared
from albef_paddle.network.negatives import Negatives
from albef_paddle.network.text_encoder import labelled_positions, language_head, take_flat
from pyutils.layers.attention import KeyValue
from pyutils.losses import distilled_cross_entropy, masked_cross_entropy

TEMPERATURE_RANGE = (0.001, 0.5)


class PretrainingLosses(NamedTuple):
    """Scalars: masked words, image-text contrast, image-text matching."""

    words: paddle.Tensor
    contrast: paddle.Tensor
    matching: paddle.Tensor


class AlbefForPretraining(ContrastiveModel):
    """All three objectives. Call `teacher.update(model)` before the first forward pass of every optimizer step."""

    def __init__(self, config: AlbefConfig):
        super().__init__(config, with_identities=False)
        self.words = language_head(config.text)
        self.teacher = self.make_teacher((*TOWERS, "words"))

    @paddle.no_grad()
    def clamp_temperature(self) -> None:
        """Keep the temperature in `TEMPERATURE_RANGE`, in place."""
        paddle.assign(paddle.clip(self.temperature, *TEMPERATURE_RANGE), output=self.temperature)

    def word_logits(
        self, parts, input_ids: paddle.Tensor, text_mask: paddle.Tensor, memories: Sequence[KeyValue]
    ) -> paddle.Tensor:
        """Scores of all words `[batch, t, vocab]` by `parts`: this model or its teacher."""
        return parts.words(parts.text(input_ids, text_mask, memories), parts.text.word_table)

    def masked_words(
        self,
        masked_ids: paddle.Tensor,
        text_mask: paddle.Tensor,
        labels: paddle.Tensor,
        memories: Sequence[KeyValue],
        teacher: Encoded,
        alpha: float,
    ) -> paddle.Tensor:
        """The masked-language loss (equations 3 and 7), a scalar; words are scored where there is a label only.

        `masked_ids` and `labels` `[batch, t]` int64, labels -100 where nothing is predicted; `memories` of the images.
        """
        positions, targets = labelled_positions(labels)
        states = self.text(masked_ids, text_mask, memories)
        logits = self.words(take_flat(states, positions), self.text.word_table)
        if not self.config.distill:
            return masked_cross_entropy(logits, targets)
        with paddle.no_grad():
            slow = self.teacher
            states = slow.text(masked_ids, text_mask, slow.text.memories(teacher.image_tokens))
            teacher_logits = slow.words(take_flat(states, positions), slow.text.word_table)
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
        """The losses of a batch; clamps the temperature first and adds the teacher's features to the queue.

        `images` `[batch, 3, size, size]` float32; `input_ids`, `text_mask`, `masked_ids`, `word_labels` `[batch, t]`
        int64; `alpha`: weight of the teacher; `negatives`: draws to use instead of new ones.
        """
        self.clamp_temperature()
        own = encode_pairs(self, images, input_ids, text_mask)
        with paddle.no_grad():
            teacher = encode_pairs(self.teacher, images, input_ids, text_mask)
        others = gather_compared(teacher)
        contrast = self.contrast(own, others, alpha)
        self.queue.enqueue(others.images, others.texts)
        memories = self.text.memories(own.image_tokens)
        matching = self.match(own, text_mask, memories, contrast, negatives)
        words = self.masked_words(masked_ids, text_mask, word_labels, memories, teacher, alpha)
        return PretrainingLosses(words, contrast.loss, matching.loss)
