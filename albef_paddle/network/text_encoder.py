"""ALBEF's text encoder: a BERT whose later layers attend to the image (arXiv 2107.07651, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from albef_paddle.config import TextConfig
from pyutils.layers.attention import KeyValue, attention_bias, causal_mask
from pyutils.layers.embeddings import TextEmbeddings
from pyutils.layers.heads import MaskedLanguageHead
from pyutils.layers.transformer import TransformerEncoder
from pyutils.losses import IGNORE, soft_token_losses, token_losses


class TextEncoder(nn.Layer):
    """Embeddings, text layers, and fusion layers with cross-attention to a context of width `context_size`.

    With `images` = 2 (NLVR2) the fusion layers come in pairs, one per image; a pair shares the key and value
    projections, which are stored in its first layer.
    """

    def __init__(self, config: TextConfig, context_size: int, text_layers: int, fusion_layers: int, images: int = 1):
        super().__init__()
        self.embeddings = TextEmbeddings(
            config.vocab_size,
            config.hidden_size,
            config.max_positions,
            config.token_types,
            config.layer_norm_eps,
            config.hidden_dropout,
            config.init_std,
        )
        self.text_layers = TransformerEncoder(config.layer_shape(0), text_layers)
        self.fusion_layers = TransformerEncoder(config.layer_shape(context_size), fusion_layers * images, images)

    @property
    def word_table(self) -> paddle.Tensor:
        """Word embeddings `[vocab, hidden]`; the MLM head is tied to them."""
        return self.embeddings.words.weight

    def encode(self, input_ids: paddle.Tensor, text_mask: paddle.Tensor | None, **ids) -> paddle.Tensor:
        """Run the text layers: `[batch, t]` int64 ids and mask (1 = word; None: no padding) → `[batch, t, hidden]`.

        `ids`: `token_type_ids`, `position_ids` `[batch, t]` int64; default 0, and 0, 1, ….
        """
        return self.text_layers(self.embeddings(input_ids, **ids), _bias(text_mask))

    def memories(self, *contexts: paddle.Tensor, masks: Sequence[paddle.Tensor | None] = (None,)) -> list[KeyValue]:
        """Project keys and values of the contexts `[batch, tokens, context_size]` for every fusion layer.

        With n contexts, layer l reads context l mod n. `masks`: `[batch, tokens]` of each (None: no padding).
        """
        return self.fusion_layers.project_memories(*contexts, biases=[_bias(mask) for mask in masks])

    def before_images(self, states: paddle.Tensor, text_mask: paddle.Tensor | None) -> paddle.Tensor:
        """Run the self-attention of the first fusion layer on text states `[batch, t, hidden]`, for texts fused
        with many images: the same shape, to `fuse` with `attended`."""
        return self.fusion_layers.attend_first(states, _bias(text_mask))

    def fuse(
        self,
        states: paddle.Tensor,
        text_mask: paddle.Tensor | None,
        memories: Sequence[KeyValue],
        read_at: int | None = None,
        attended: bool = False,
    ) -> paddle.Tensor:
        """Run the fusion layers on text states `[batch, t, hidden]`.

        `memories` with fewer rows are shared by consecutive entries of the batch (see `MultiHeadAttention.forward`).
        `read_at`: compute only this position in the last layer; the result is then `[batch, 1, hidden]`. `attended`:
        `states` come from `before_images`.
        """
        return self.fusion_layers(states, _bias(text_mask), read_at=read_at, memories=memories, attended=attended)

    def forward(
        self,
        input_ids: paddle.Tensor,
        text_mask: paddle.Tensor | None,
        memories: Sequence[KeyValue],
        read_at: int | None = None,
        causal: bool = False,
        **ids,
    ) -> paddle.Tensor:
        """Run all layers: `encode`, then `fuse`. `causal`: attend only to the same and earlier positions."""
        if causal:
            text_mask = causal_mask(paddle.ones(input_ids.shape) if text_mask is None else text_mask)
        return self.fuse(self.encode(input_ids, text_mask, **ids), text_mask, memories, read_at)


class TextDecoder(nn.Layer):
    """Generates the answer to a question: every layer attends to the question's hidden states `[batch, tokens,
    context_size]` (section 4.2)."""

    def __init__(self, config: TextConfig, context_size: int, num_layers: int):
        super().__init__()
        self.text = TextEncoder(config, context_size, text_layers=0, fusion_layers=num_layers)
        self.words = language_head(config)

    def states(
        self, input_ids: paddle.Tensor, text_mask: paddle.Tensor | None, memories: Sequence[KeyValue]
    ) -> paddle.Tensor:
        """Compute hidden states, `[batch, t]` int64 → `[batch, t, hidden]`; position i attends to words 0 … i."""
        return self.text(input_ids, text_mask, memories, causal=True)

    def logits(self, states: paddle.Tensor) -> paddle.Tensor:
        """Score the next word, `[…, hidden]` → `[…, vocab]`."""
        return self.words(states, self.text.word_table)

    def answer_losses(
        self,
        states: paddle.Tensor,
        labels: paddle.Tensor,
        teacher_logits: paddle.Tensor | None = None,
        alpha: float = 0.0,
    ) -> paddle.Tensor:
        """Sum the cross entropy of the next word over each answer, distilled when `teacher_logits` are given.

        `states` `[batch, t, hidden]`; `labels` `[batch, t]` int64, the input with `IGNORE` at padding;
        `teacher_logits` `[n, vocab]` at the n positions of `labelled_positions(next_words(labels))`, the only ones
        that are scored. Returns `[batch]` float32.
        """
        positions, targets = labelled_positions(next_words(labels))
        logits = self.logits(take_flat(states, positions))
        losses = token_losses(logits, targets)
        if teacher_logits is not None:
            teacher = paddle.nn.functional.softmax(teacher_logits.detach().astype("float32"), axis=-1)
            soft = soft_token_losses(logits, teacher) * (targets != IGNORE).astype("float32")
            losses = (1.0 - alpha) * losses + alpha * soft
        rows = (positions // labels.shape[1]).unsqueeze(-1)
        return paddle.scatter_nd(rows, losses, [labels.shape[0]])  # sums the entries of a row


def text_encoder(config: TextConfig, context_size: int, images: int = 1) -> TextEncoder:
    """Build the encoder of `config`; `images`: the number of images per text."""
    return TextEncoder(config, context_size, config.fusion_layer, config.num_layers - config.fusion_layer, images)


def language_head(config: TextConfig) -> MaskedLanguageHead:
    """Build the MLM head; its output matrix is given with each call."""
    return MaskedLanguageHead(
        config.hidden_size, config.vocab_size, config.hidden_act, config.layer_norm_eps, config.init_std
    )


def next_words(labels: paddle.Tensor) -> paddle.Tensor:
    """Shift `labels` `[batch, t]` int64 one to the left, `IGNORE` last: the targets of each position."""
    return paddle.concat([labels[:, 1:], paddle.full([labels.shape[0], 1], IGNORE, dtype=labels.dtype)], axis=1)


def labelled_positions(labels: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Find flat positions b · t + i of the labels `[batch, t]` that are not `IGNORE`, and these labels: `[n]` int64
    each.

    Without any, position 0 with its `IGNORE`, so that losses are 0 and no tensor is empty.
    """
    flat = labels.reshape([-1])
    positions = paddle.nonzero(flat != IGNORE).reshape([-1])
    if positions.shape[0] == 0:
        positions = paddle.zeros([1], dtype="int64")
    return positions, paddle.gather(flat, positions)


def take_flat(states: paddle.Tensor, positions: paddle.Tensor) -> paddle.Tensor:
    """Gather flat `positions` `[n]` of `states` `[batch, t, hidden]`: `[n, hidden]`."""
    return paddle.gather(states.reshape([-1, states.shape[-1]]), positions)


def _bias(mask: paddle.Tensor | None) -> paddle.Tensor | None:
    return None if mask is None else attention_bias(mask)
