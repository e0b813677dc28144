"""The post-norm transformer layer of BERT (Devlin et al., arXiv 1810.04805), with an optional cross-attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import paddle
from paddle import nn

from pyutils.compat import recompute
from pyutils.layers.attention import AttentionMaps, KeyValue, MultiHeadAttention, spread_bias
from pyutils.layers.bert_config import LayerShape
from pyutils.layers.dropout import Dropout
from pyutils.layers.heads import take_positions
from pyutils.layers.initializers import ACTIVATIONS, layer_norm, linear


class ResidualOutput(nn.Layer):
    """LayerNorm(residual + dropout(dense(x))), the end of every sub-layer of BERT."""

    def __init__(self, input_size: int, shape: LayerShape):
        super().__init__()
        self.dense = linear(input_size, shape.hidden_size, shape.init_std)
        self.dropout = Dropout(shape.hidden_dropout)
        self.norm = layer_norm(shape.hidden_size, shape.layer_norm_eps)

    def forward(self, states: paddle.Tensor, residual: paddle.Tensor) -> paddle.Tensor:
        """`states` `[batch, tokens, input_size]`, `residual` `[batch, tokens, hidden_size]`."""
        return self.norm(self.dropout(self.dense(states)) + residual)


class AttentionBlock(nn.Layer):
    """Attention followed by its output projection, residual and LayerNorm."""

    def __init__(self, shape: LayerShape, context_size: int | None = None):
        super().__init__()
        self.attend = MultiHeadAttention(
            shape.hidden_size,
            shape.num_heads,
            context_size=context_size,
            inner_size=shape.inner_size,
            dropout=shape.attention_dropout,
            init_std=shape.init_std,
            own_memory=shape.own_memory or context_size is None,
        )
        self.output = ResidualOutput(shape.inner_size or shape.hidden_size, shape)

    def forward(
        self, states: paddle.Tensor, bias: paddle.Tensor | None = None, **options
    ) -> tuple[paddle.Tensor, AttentionMaps | None]:
        """`[batch, tokens, hidden_size]` → the same shape; `options` as in `MultiHeadAttention.forward`."""
        mixed, maps = self.attend(states, bias, **options)
        return self.output(mixed, states), maps


class FeedForward(nn.Layer):
    """Position-wise feed-forward part with residual and LayerNorm."""

    def __init__(self, shape: LayerShape):
        super().__init__()
        self.expand = linear(shape.hidden_size, shape.intermediate_size, shape.init_std)
        self.activation = ACTIVATIONS[shape.hidden_act]
        self.output = ResidualOutput(shape.intermediate_size, shape)

    def forward(self, states: paddle.Tensor) -> paddle.Tensor:
        """`[batch, tokens, hidden_size]` → the same shape."""
        return self.output(self.activation(self.expand(states)), states)


class LayerMaps(NamedTuple):
    """Attention maps of one layer; None for a part that the layer does not have."""

    self_attention: AttentionMaps | None
    cross_attention: AttentionMaps | None


class TransformerLayer(nn.Layer):
    """Self-attention, cross-attention where `shape.context_size` is given, feed-forward."""

    def __init__(self, shape: LayerShape):
        super().__init__()
        self.attention = AttentionBlock(shape)
        self.cross_attention = AttentionBlock(shape, shape.context_size) if shape.context_size else None
        self.feed_forward = FeedForward(shape)

    def forward(
        self,
        states: paddle.Tensor,
        bias: paddle.Tensor | None = None,
        context: paddle.Tensor | None = None,
        context_bias: paddle.Tensor | None = None,
        memory: KeyValue | None = None,
        wanted: paddle.Tensor | None = None,
        gate: tuple[paddle.Tensor, paddle.Tensor] | None = None,
        need_maps: bool = False,
        attended: bool = False,
    ) -> tuple[paddle.Tensor, LayerMaps]:
        """Run the layer on `states` `[batch, tokens, hidden_size]`.

        `context` `[batch, context tokens, context_size]` or its projection `memory` feeds the cross-attention.
        `wanted` `[batch, n, hidden_size]`: the rows of `states` to compute (default all); the others stay visible as
        keys. `gate`: of the self-attention, see `MultiHeadAttention.forward`. `attended`: `states` are the output of
        `self.attention`, which is not run again.
        Returns `[batch, n, hidden_size]` and the maps.
        """
        keys_from = None if wanted is None else states
        wanted = states if wanted is None else wanted
        self_maps = cross_maps = None
        if not attended:
            wanted, self_maps = self.attention(wanted, bias, context=keys_from, gate=gate, need_maps=need_maps)
        if self.cross_attention is not None and (context is not None or memory is not None):
            wanted, cross_maps = self.cross_attention(
                wanted, context_bias, context=context, memory=memory, need_maps=need_maps
            )
        return self.feed_forward(wanted), LayerMaps(self_maps, cross_maps)


class TransformerEncoder(nn.Layer):
    """A stack of equal layers. `recompute_layers` trades time for memory while training.

    With `memory_sharing` n, runs of n layers use the cross-attention keys and values that the first of the run
    projects (NLVR2's pairs of layers in ALBEF, arXiv 2107.07651, section 5.2).
    """

    def __init__(self, shape: LayerShape, num_layers: int, memory_sharing: int = 1):
        super().__init__()
        shapes = [replace(shape, own_memory=number % memory_sharing == 0) for number in range(num_layers)]
        self.layers = nn.LayerList([TransformerLayer(item) for item in shapes])
        self.memory_sharing = memory_sharing
        self.recompute_layers = False

    def project_memories(
        self, *contexts: paddle.Tensor, biases: Sequence[paddle.Tensor | None] = (None,)
    ) -> list[KeyValue]:
        """Project the keys and values of each layer's cross-attention: layer l reads context l mod n of the n
        `contexts` `[batch, tokens, context_size]`, with its bias of `biases` (`attention_bias` of their masks)."""
        memories = []
        for number in range(len(self.layers)):
            projector = self.layers[number - number % self.memory_sharing].cross_attention.attend
            which = number % len(contexts)
            memories.append(projector.project_memory(contexts[which], biases[which % len(biases)]))
        return memories

    def attend_first(self, states: paddle.Tensor, bias: paddle.Tensor | None = None) -> paddle.Tensor:
        """Run the self-attention of the first layer, `[batch, tokens, hidden_size]` → same shape. It does not depend on
        the memories, so one pass serves many of them; `forward` continues from it with `attended`."""
        return self.layers[0].attention(states, bias)[0]

    def forward(
        self,
        states: paddle.Tensor,
        bias: paddle.Tensor | None = None,
        read_at: int | paddle.Tensor | None = None,
        memories: Sequence[KeyValue] | None = None,
        attended: bool = False,
        **options,
    ) -> paddle.Tensor:
        """`[batch, tokens, hidden_size]` → the states after the last layer, the same shape.

        `read_at`: the only position needed, an int or `[batch]` int64. The last layer then computes only that one and
        the result is `[batch, 1, hidden_size]`, equal to the full result at that position.
        `memories`: one for each layer's cross-attention (`project_memories`). `attended`: `states` come from
        `attend_first`. `options`: passed to every layer.
        """
        last = len(self.layers) - 1
        shared = spread_bias(bias, self.layers[0].attention.attend.num_heads, states.shape[1]) if last > 0 else bias
        for number, layer in enumerate(self.layers):
            if number == last and read_at is not None:
                options["wanted"], shared = take_positions(states, read_at), bias
            if memories is not None:
                options["memory"] = memories[number]
            options["attended"] = attended and number == 0
            if self.recompute_layers and self.training:
                states, _ = recompute(layer, states, shared, **options)
            else:
                states, _ = layer(states, shared, **options)
        return states

    def trace(
        self,
        states: paddle.Tensor,
        bias: paddle.Tensor | None = None,
        memories: Sequence[KeyValue] | None = None,
        **options,
    ) -> tuple[list[paddle.Tensor], list[LayerMaps]]:
        """States before the first and after every layer (`num_layers` + 1), and every layer's attention maps."""
        trail, maps = [states], []
        for number, layer in enumerate(self.layers):
            if memories is not None:
                options["memory"] = memories[number]
            states, layer_maps = layer(states, bias, need_maps=True, **options)
            trail.append(states)
            maps.append(layer_maps)
        return trail, maps
