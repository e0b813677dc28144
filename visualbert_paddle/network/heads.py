"""VisualBERT with each of its heads. All take the inputs of `VisualBert.embed` by name."""

from __future__ import annotations

import math
from typing import NamedTuple

import paddle
from paddle import nn

from pyutils.layers.attention import attention_bias
from pyutils.layers.dropout import Dropout
from pyutils.layers.heads import MaskedLanguageHead
from pyutils.layers.initializers import linear
from pyutils.packages import PretrainedModel
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.network.model import VisualBert


class PretrainingScores(NamedTuple):
    """`words` `[batch, t + r, vocab]` (or `[n, vocab]` for chosen positions), `sentence_image` `[batch, 2]`:
    class 1 = the caption matches the image."""

    words: paddle.Tensor
    sentence_image: paddle.Tensor


class VisualBertForPretraining(PretrainedModel, nn.Layer):
    """Masked language modelling and sentence-image prediction (paper, section 3.3)."""

    def __init__(self, config: VisualBertConfig):
        super().__init__()
        self.config = config
        self.encoder = VisualBert(config)
        self.words = MaskedLanguageHead(
            config.hidden_size, config.vocab_size, config.hidden_act, config.layer_norm_eps, config.init_std
        )
        self.sentence_image = linear(config.hidden_size, 2, config.init_std)

    def forward(self, word_positions: paddle.Tensor | None = None, **inputs) -> PretrainingScores:
        """`word_positions` `[n]` int64: flat positions b · (t + r) + i to score; default all of them."""
        states = self.encoder(**inputs).states
        pooled = self.encoder.pooler(states)
        if word_positions is not None:
            states = paddle.gather(states.reshape([-1, states.shape[-1]]), word_positions)
        return PretrainingScores(self.words(states, self.encoder.word_table), self.sentence_image(pooled))


class VisualBertForQuestionAnswering(PretrainedModel, nn.Layer):
    """Answer scores read where the question's [MASK] stands: `[CLS] question ? [MASK] [SEP]` (paper, section 4.1)."""

    def __init__(self, config: VisualBertConfig, num_answers: int):
        super().__init__()
        self.config = config
        self.encoder = VisualBert(config)
        self.dropout = Dropout(config.hidden_dropout)
        self.classifier = linear(config.hidden_size, num_answers, config.init_std)

    def forward(self, text_mask: paddle.Tensor, **inputs) -> paddle.Tensor:
        """Scores `[batch, answers]`; the state read is the one two before the text's end."""
        position = text_mask.sum(axis=1).astype("int64") - 2
        states = self.encoder(read_at=position, text_mask=text_mask, **inputs).states
        return self.classifier(self.dropout(states[:, 0]))


class PooledScores(PretrainedModel, nn.Layer):
    """Scores of the pooled [CLS] state, the head of NLVR2 (two classes), VCR (one score a choice), own classes."""

    def __init__(self, config: VisualBertConfig, num_scores: int):
        super().__init__()
        self.config = config
        self.encoder = VisualBert(config)
        self.dropout = Dropout(config.hidden_dropout)
        self.classifier = linear(config.hidden_size, num_scores, config.init_std)

    def forward(self, **inputs) -> paddle.Tensor:
        """`[batch, num_scores]`."""
        return self.classifier(self.dropout(self.encoder.pooler(self.encoder(read_at=0, **inputs).states)))


class VisualBertForReasoning(PooledScores):
    """NLVR2: whether the sentence is true of the two images; class 1 = True (paper, section 4.3)."""

    def __init__(self, config: VisualBertConfig):
        super().__init__(config, 2)


class VisualBertForMultipleChoice(PooledScores):
    """VCR: one score for each of the choices (paper, section 4.2)."""

    def __init__(self, config: VisualBertConfig):
        super().__init__(config, 1)

    def forward(self, **inputs) -> paddle.Tensor:
        """Inputs `[batch, choices, …]`; scores `[batch, choices]`."""
        batch, choices = inputs["input_ids"].shape[:2]
        flat = {
            name: None if value is None else value.reshape([batch * choices, *value.shape[2:]])
            for name, value in inputs.items()
        }
        return super().forward(**flat).reshape([batch, choices])


class VisualBertForPhraseGrounding(PretrainedModel, nn.Layer):
    """Flickr30k Entities: a score for every region at every phrase's position (paper, section 4.4)."""

    def __init__(self, config: VisualBertConfig):
        super().__init__()
        self.config = config
        self.encoder = VisualBert(config)
        head_size = config.hidden_size // config.num_heads
        self.query = linear(config.hidden_size, head_size, config.init_std)
        self.key = linear(config.hidden_size, head_size, config.init_std)

    def forward(
        self, phrase_positions: paddle.Tensor, region_mask: paddle.Tensor | None = None, **inputs
    ) -> paddle.Tensor:
        """`phrase_positions` `[batch, p]` int64, -1 = padding. Scores `[batch, p, r]`, masked regions at -10000."""
        encoded = self.encoder(region_mask=region_mask, **inputs)
        positions = paddle.clip(phrase_positions, min=0).unsqueeze(-1)
        phrases = paddle.take_along_axis(encoded.states, positions.tile([1, 1, encoded.states.shape[-1]]), axis=1)
        queries = self.query(phrases) * (1.0 / math.sqrt(self.query.weight.shape[1]))
        scores = paddle.matmul(queries, self.key(encoded.regions), transpose_y=True)  # [batch, p, r]
        return scores if region_mask is None else scores + attention_bias(region_mask).squeeze(1)
