"""VQA with an answer decoder that ranks an answer list (arXiv 2107.07651, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from albef_paddle.config import AlbefConfig
from albef_paddle.network.ema import Teacher
from albef_paddle.network.text_encoder import TextDecoder, labelled_positions, next_words, take_flat, text_encoder
from pyutils.compat import fp32_island
from pyutils.layers.attention import KeyValue
from pyutils.layers.vit import VisionTransformer
from pyutils.losses import IGNORE
from pyutils.packages import PretrainedModel


class RankedAnswers(NamedTuple):
    """`answers` `[questions, k]` int64, indices into the answer list, best first; `probabilities` `[questions, k]`
    float32, rows sum to 1."""

    answers: paddle.Tensor
    probabilities: paddle.Tensor


class AlbefForQuestionAnswering(PretrainedModel, nn.Layer):
    """The decoder generates answers from the hidden states of the question fused with its image. Call
    `teacher.update(model)` before the first forward pass of every optimizer step."""

    def __init__(self, config: AlbefConfig):
        super().__init__()
        self.config = config
        self.vision = VisionTransformer(config.vision.shape())
        self.text = text_encoder(config.text, config.vision.width)
        self.decoder = TextDecoder(config.text, config.text.hidden_size, config.decoder_layers)
        self.teacher = Teacher(self, ("vision", "text", "decoder"))

    def question_memories(
        self, parts, images: paddle.Tensor, question_ids: paddle.Tensor, question_mask: paddle.Tensor
    ) -> list[KeyValue]:
        """Project keys and values of the question's hidden states for the decoder of `parts` (model or teacher).

        `images` `[questions, 3, size, size]` float32; `question_ids`, `question_mask` `[questions, t]` int64.
        """
        states = self.question_states(parts, images, question_ids, question_mask)
        return parts.decoder.text.memories(states, masks=[question_mask])

    def question_states(
        self, parts, images: paddle.Tensor, question_ids: paddle.Tensor, question_mask: paddle.Tensor
    ) -> paddle.Tensor:
        """Fuse questions with their images: `[questions, t, hidden]`; arguments as in `question_memories`."""
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
        """Compute the loss of each answer, `[answers]` float32; arguments as in `forward`. A question is encoded once,
        however many answers it has."""
        labels = answer_labels(answer_ids, answer_mask)

        def states_of(parts) -> paddle.Tensor:
            memories = self.question_memories(parts, images, question_ids, question_mask)
            return parts.decoder.states(answer_ids, answer_mask, [m.gather(answer_rows) for m in memories])

        states = states_of(self)
        if not self.config.distill:
            return self.decoder.answer_losses(states, labels)
        with paddle.no_grad():
            positions, _ = labelled_positions(next_words(labels))
            teacher_logits = self.teacher.decoder.logits(take_flat(states_of(self.teacher), positions))
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
        """Compute the training loss: the weighted sum of all answers' losses over the number of questions; a scalar.

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
        """Rank the `k` best answers (all when there are fewer) of the list `candidate_ids`, `candidate_mask`
        `[candidates, a]` int64; other arguments as in `forward`."""
        memories = self.question_memories(self, images, question_ids, question_mask)
        first, chosen = self.likely_answers(memories, candidate_ids, question_ids.shape[0], k)
        scores = self.answer_scores(memories, first, chosen, candidate_ids, candidate_mask)
        order = paddle.argsort(scores, axis=1, descending=True)
        probabilities = F.softmax(paddle.take_along_axis(scores, order, axis=1), axis=1)
        return RankedAnswers(paddle.take_along_axis(chosen, order, axis=1), probabilities)

    def first_word_logits(self, memories: Sequence[KeyValue], start: paddle.Tensor, questions: int) -> paddle.Tensor:
        """Score the first word of an answer, `[questions, vocab]`; `start` `[1]` int64: the id of `[CLS]`."""
        ids = start.reshape([1, 1]).expand([questions, 1])
        return self.decoder.logits(self.decoder.states(ids, None, memories)[:, 0])

    def likely_answers(
        self, memories: Sequence[KeyValue], candidate_ids: paddle.Tensor, questions: int, k: int
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Select the `k` candidates with the most probable first word: that word's probability float32, and the
        candidates int64, `[questions, k]` each."""
        logits = self.first_word_logits(memories, candidate_ids[0, 0], questions)
        with fp32_island():
            probabilities = F.softmax(logits.astype("float32"), axis=-1)
        # index_select, not a slice: Paddle 2.6 misreads a strided index tensor.
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
        """Compute the log-likelihood of each chosen answer, `[questions, k]` float32; `first` and `chosen` are those of
        `likely_answers`.

        The first word's probability counts twice, as in the original. The answers of a question share its hidden
        states.
        """
        rows = chosen.reshape([-1])
        ids, mask = paddle.gather(candidate_ids, rows), paddle.gather(candidate_mask, rows)
        longest = int(mask.sum(axis=1).max())
        ids, mask = ids[:, :longest], mask[:, :longest]
        states = self.decoder.states(ids, mask, memories)
        losses = self.decoder.answer_losses(states, answer_labels(ids, mask))
        return paddle.log(first) - losses.reshape(chosen.shape)


def answer_labels(ids: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
    """Set `ids` `[answers, a]` int64 to `IGNORE` where `mask` is 0."""
    return paddle.where(mask > 0, ids, paddle.full_like(ids, IGNORE))
