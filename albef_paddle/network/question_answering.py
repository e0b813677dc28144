"""Visual question answering with ALBEF: a decoder, trained to write answers, ranks them (arXiv 2107.07651, §4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from albef_paddle.config import AlbefConfig
from albef_paddle.network.ema import Teacher
from albef_paddle.network.text_encoder import TextDecoder, labelled_positions, next_words, take_flat, text_encoder
from pyutils.engine.precision import fp32_island
from pyutils.layers.attention import KeyValue
from pyutils.layers.vit import VisionTransformer
from pyutils.losses import IGNORE
from pyutils.packages import PretrainedModel


class RankedAnswers(NamedTuple):
    """`answers` `[questions, k]` int64, positions in the answer list, best first; `probabilities` `[questions, k]`
    float32, which sum to 1 over the k."""

    answers: paddle.Tensor
    probabilities: paddle.Tensor


class AlbefForQuestionAnswering(PretrainedModel, nn.Layer):
    """The question is read with the image; the decoder writes answers from its states. Call `teacher.update(model)`
    before the first forward pass of every optimizer step."""

    def __init__(self, config: AlbefConfig):
        super().__init__()
        self.config = config
        self.vision = VisionTransformer(config.vision.shape())
        self.text = text_encoder(config.text, config.vision.width)
        self.decoder = TextDecoder(config.text, config.text.hidden_size, config.decoder_layers)
        names = ("vision", "text", "decoder")
        self.teacher = Teacher(self, names, config.momentum, config.teacher_dropout)

    def question_memories(
        self, parts, images: paddle.Tensor, question_ids: paddle.Tensor, question_mask: paddle.Tensor
    ) -> list[KeyValue]:
        """What the decoder of `parts` (this model or its teacher) reads: keys and values of the question's states.

        `images` `[questions, 3, size, size]` float32; `question_ids`, `question_mask` `[questions, t]` int64.
        """
        states = self.question_states(parts, images, question_ids, question_mask)
        return parts.decoder.text.memories(states, masks=[question_mask])

    def question_states(
        self, parts, images: paddle.Tensor, question_ids: paddle.Tensor, question_mask: paddle.Tensor
    ) -> paddle.Tensor:
        """States of the question read with its image, `[questions, t, hidden]`; arguments as in `question_memories`."""
        return parts.text(question_ids, question_mask, parts.text.memories(parts.vision(images)))

    def answer_losses(
        self,
        images: paddle.Tensor,
        question_ids: paddle.Tensor,
        question_mask: paddle.Tensor,
        answer_ids: paddle.Tensor,
        answer_mask: paddle.Tensor,
        answer_rows: paddle.Tensor,
        alpha: float,
    ) -> paddle.Tensor:
        """Loss of each answer, `[answers]` float32; arguments as in `forward`. Questions are read once, however many
        answers they have."""
        labels = answer_labels(answer_ids, answer_mask)
        memories = self.question_memories(self, images, question_ids, question_mask)
        states = self.decoder.states(answer_ids, answer_mask, [m.gather(answer_rows) for m in memories])
        if not self.config.distill:
            return self.decoder.answer_losses(states, labels)
        with paddle.no_grad():
            slow = self.teacher
            memories = self.question_memories(slow, images, question_ids, question_mask)
            slow_states = slow.decoder.states(answer_ids, answer_mask, [m.gather(answer_rows) for m in memories])
            positions, _ = labelled_positions(next_words(labels))
            teacher_logits = slow.decoder.logits(take_flat(slow_states, positions))
        return self.decoder.answer_losses(states, labels, teacher_logits, alpha)

    def forward(
        self,
        images: paddle.Tensor,
        question_ids: paddle.Tensor,
        question_mask: paddle.Tensor,
        answer_ids: paddle.Tensor,
        answer_mask: paddle.Tensor,
        answer_rows: paddle.Tensor,
        answer_weights: paddle.Tensor,
        alpha: float,
    ) -> paddle.Tensor:
        """The training loss: losses of all answers by weight, summed, over the number of questions. A scalar.

        `images` `[questions, 3, size, size]` float32; `question_ids`, `question_mask` `[questions, t]` int64;
        `answer_ids` (`[CLS]` first, `[SEP]` last) and `answer_mask` `[answers, a]` int64; `answer_rows` `[answers]`
        int64: the question of each; `answer_weights` `[answers]` float32; `alpha`: weight of the teacher.
        """
        losses = self.answer_losses(images, question_ids, question_mask, answer_ids, answer_mask, answer_rows, alpha)
        return (losses * answer_weights).sum() / images.shape[0]

    @paddle.no_grad()
    def rank(
        self,
        images: paddle.Tensor,
        question_ids: paddle.Tensor,
        question_mask: paddle.Tensor,
        candidate_ids: paddle.Tensor,
        candidate_mask: paddle.Tensor,
        k: int,
    ) -> RankedAnswers:
        """The `k` best answers (all, when the list is shorter) of the list `candidate_ids`, `candidate_mask`
        `[candidates, a]` int64. The other arguments as in `forward`."""
        memories = self.question_memories(self, images, question_ids, question_mask)
        first, chosen = self.likely_answers(memories, candidate_ids, question_ids.shape[0], k)
        scores = self.answer_scores(memories, first, chosen, candidate_ids, candidate_mask)
        order = paddle.argsort(scores, axis=1, descending=True)
        probabilities = F.softmax(paddle.take_along_axis(scores, order, axis=1), axis=1)
        return RankedAnswers(paddle.take_along_axis(chosen, order, axis=1), probabilities)

    def first_word_logits(self, memories: Sequence[KeyValue], start: paddle.Tensor, questions: int) -> paddle.Tensor:
        """Scores of an answer's first word, `[questions, vocab]`; `start` `[1]` int64 is the id of `[CLS]`."""
        ids = start.reshape([1, 1]).expand([questions, 1])
        return self.decoder.logits(self.decoder.states(ids, None, memories)[:, 0])

    def likely_answers(
        self, memories: Sequence[KeyValue], candidate_ids: paddle.Tensor, questions: int, k: int
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The `k` candidates whose first word is likeliest: that word's probability float32, and the candidates int64,
        `[questions, k]` each."""
        logits = self.first_word_logits(memories, candidate_ids[0, 0], questions)
        with fp32_island():
            probabilities = F.softmax(logits.astype("float32"), axis=-1)
        # Selected, not sliced: 2.6 misreads an index tensor with gaps.
        first_words = paddle.index_select(candidate_ids, paddle.ones([1], dtype="int64"), axis=1).reshape([-1])
        of_candidates = paddle.index_select(probabilities, first_words, axis=1)
        return paddle.topk(of_candidates, min(k, candidate_ids.shape[0]), axis=1)

    def answer_scores(
        self,
        memories: Sequence[KeyValue],
        first: paddle.Tensor,
        chosen: paddle.Tensor,
        candidate_ids: paddle.Tensor,
        candidate_mask: paddle.Tensor,
    ) -> paddle.Tensor:
        """Log-likelihood of each chosen answer, `[questions, k]` float32; `first` and `chosen` as `likely_answers`
        gives them.

        The first word's probability counts once more on its own, as the published numbers have it. A question's states
        are shared by its answers, not repeated.
        """
        rows = chosen.reshape([-1])
        ids, mask = paddle.gather(candidate_ids, rows), paddle.gather(candidate_mask, rows)
        longest = int(mask.sum(axis=1).max())
        ids, mask = ids[:, :longest], mask[:, :longest]
        states = self.decoder.states(ids, mask, memories)
        losses = self.decoder.answer_losses(states, answer_labels(ids, mask))
        return paddle.log(first) - losses.reshape(chosen.shape)


def answer_labels(ids: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
    """`ids` `[answers, a]` int64 with `IGNORE` where `mask` is 0."""
    return paddle.where(mask > 0, ids, paddle.full_like(ids, IGNORE))
