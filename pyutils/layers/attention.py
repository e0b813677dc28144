"""Multi-head attention (Vaswani et al., arXiv 1706.03762, section 3.2).

Self-attention, cross-attention and co-attention differ in where keys and values come from; `MultiHeadAttention` takes
them from `context`, or already projected from `memory` so that several queries can share one projection.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from pyutils.compat import fused_attention_available, scaled_dot_product_attention
from pyutils.layers.dropout import dropout as dropped
from pyutils.layers.initializers import linear

MASKED_SCORE = -10000.0
"""Added to the score of a masked key, as in the originals."""


class KeyValue(NamedTuple):
    """Projected keys and values, `[memories, heads, context tokens, head_dim]` each, and the bias of their padding
    (`[memories or 1, 1, 1, context tokens]`, see `attention_bias`; None: nothing is masked)."""

    keys: paddle.Tensor
    values: paddle.Tensor
    bias: paddle.Tensor | None = None

    def gather(self, rows: paddle.Tensor) -> KeyValue:
        """The entries of the batch rows `rows` `[n]` int64, without projecting them again."""
        bias = self.bias
        if bias is not None and bias.shape[0] > 1:
            bias = paddle.gather(bias, rows)
        return KeyValue(paddle.gather(self.keys, rows), paddle.gather(self.values, rows), bias)


class AttentionMaps(NamedTuple):
    """Intermediate results of one attention: `weights` `[batch, heads, queries, keys]` (softmax, before dropout),
    `queries` and `keys` `[batch, heads, tokens, head_dim]`."""

    weights: paddle.Tensor
    queries: paddle.Tensor
    keys: paddle.Tensor


def attention_bias(mask: paddle.Tensor) -> paddle.Tensor:
    """Turn a padding mask into an additive bias.

    `mask`: `[batch, keys]` (1 = attend), or `[batch, queries, keys]` for a causal mask; any numeric or boolean type.
    Returns `[batch, 1, 1 or queries, keys]` float32: 0 where attended, `MASKED_SCORE` elsewhere.
    """
    bias = (1.0 - mask.astype("float32")) * MASKED_SCORE
    return bias.unsqueeze([1, 2]) if bias.ndim == 2 else bias.unsqueeze(1)


def spread_bias(bias: paddle.Tensor | None, heads: int, queries: int) -> paddle.Tensor | None:
    """Expand `bias` to `[batch, heads, queries, keys]` on the CPU, for layers that share it; else return it."""
    # On the CPU, adding equal shapes is 30 times as fast as broadcasting.
    if bias is None or not paddle.in_dynamic_mode() or not bias.place.is_cpu_place():
        return bias
    return bias.expand([bias.shape[0], heads, queries, bias.shape[-1]])


def causal_mask(mask: paddle.Tensor) -> paddle.Tensor:
    """Combine causal and padding mask: `mask` `[batch, t]` → `[batch, t, t]` float32, query i attends to keys ≤ i."""
    length = mask.shape[1]
    lower = paddle.tril(paddle.ones([length, length], dtype="float32"))
    return lower.unsqueeze(0) * mask.astype("float32").unsqueeze(1)


def attention_weights(queries: paddle.Tensor, keys: paddle.Tensor, bias: paddle.Tensor | None) -> paddle.Tensor:
    """softmax(q kᵀ / √head_dim + bias): `[batch, heads, queries, keys]` from two `[batch, heads, tokens, head_dim]`."""
    # Scaling the queries touches far fewer numbers than scaling the scores.
    scores = paddle.matmul(queries * (1.0 / math.sqrt(queries.shape[-1])), keys, transpose_y=True)
    return F.softmax(scores if bias is None else scores + bias, axis=-1)


class MultiHeadAttention(nn.Layer):
    """Multi-head attention without the output projection.

    `query_size`: width of the queries' input; `context_size`: width of the input of keys and values (default the
    same); `inner_size`: heads × head_dim (default `query_size`), a multiple of `num_heads`. With `fused_projection`
    query, key and value are one linear layer `qkv` (self-attention only, the layout of vision transformers). Without
    `own_memory` there are no projections of keys and values: every call takes a `memory` that another attention
    projected.
    """

    def __init__(
        self,
        query_size: int,
        num_heads: int,
        context_size: int | None = None,
        inner_size: int | None = None,
        dropout: float = 0.0,
        fused_projection: bool = False,
        init_std: float = 0.02,
        own_memory: bool = True,
    ):
        super().__init__()
        inner_size = inner_size or query_size
        self.num_heads, self.head_dim, self.dropout = num_heads, inner_size // num_heads, dropout
        self.fused_projection = fused_projection
        self.recorded: list[AttentionMaps] | None = None
        if fused_projection:
            self.qkv = linear(query_size, 3 * inner_size, init_std)
        else:
            self.query = linear(query_size, inner_size, init_std)
        if own_memory and not fused_projection:
            self.key = linear(context_size or query_size, inner_size, init_std)
            self.value = linear(context_size or query_size, inner_size, init_std)

    def _split(self, states: paddle.Tensor) -> paddle.Tensor:
        # [batch, tokens, heads * head_dim] -> [batch, heads, tokens, head_dim]
        return states.reshape([0, 0, self.num_heads, self.head_dim]).transpose([0, 2, 1, 3])

    def project_memory(self, context: paddle.Tensor, bias: paddle.Tensor | None = None) -> KeyValue:
        """Project keys and values of `context` `[batch, tokens, context_size]`, to share them between several calls;
        `bias`: of the context's padding, `[batch, 1, 1, tokens]`."""
        return KeyValue(self._split(self.key(context)), self._split(self.value(context)), bias)

    def _project(
        self, states: paddle.Tensor, context: paddle.Tensor | None, memory: KeyValue | None
    ) -> tuple[paddle.Tensor, KeyValue]:
        """Queries of `states` and their keys and values, each `[batch, heads, tokens, head_dim]`."""
        if self.fused_projection:
            # [batch, tokens, 3 * heads * head_dim] -> three of [batch, heads, tokens, head_dim]
            packed = self.qkv(states).reshape([0, 0, 3, self.num_heads, self.head_dim]).transpose([2, 0, 3, 1, 4])
            return packed[0], KeyValue(packed[1], packed[2])
        queries = self._split(self.query(states))
        return queries, memory or self.project_memory(states if context is None else context)

    def forward(
        self,
        states: paddle.Tensor,
        bias: paddle.Tensor | None = None,
        context: paddle.Tensor | None = None,
        memory: KeyValue | None = None,
        gate: tuple[paddle.Tensor, paddle.Tensor] | None = None,
        need_maps: bool = False,
    ) -> tuple[paddle.Tensor, AttentionMaps | None]:
        """Attend from `states` `[batch, queries, query_size]`.

        `bias`: see `attention_bias`; a `memory` has its own. `context` `[batch, keys, context_size]` or `memory`:
        default self-attention. A memory of fewer rows than the batch, which must be a multiple of them, is shared
        without copies: each row by `batch / rows` consecutive entries.
        `gate`: factors for queries and keys, `[batch, 1, inner_size]` each (ViLBERT's dynamic attention).
        Returns `[batch, queries, inner_size]` and, if `need_maps`, the `AttentionMaps`.
        """
        queries, (keys, values, memory_bias) = self._project(states, context, memory)
        bias = memory_bias if bias is None else bias
        if gate is not None:
            queries, keys = queries * self._split(gate[0]), keys * self._split(gate[1])
        batch = queries.shape[0]
        if memory is not None:
            queries = _grouped(queries, keys.shape[0])
        dropout = self.dropout if self.training else 0.0
        maps, need_maps = None, need_maps or self.recorded is not None
        if not need_maps and fused_attention_available(queries):
            mixed = scaled_dot_product_attention(queries, keys, values, bias, dropout)
        else:
            weights = attention_weights(queries, keys, bias)
            maps = AttentionMaps(weights, queries, keys) if need_maps else None
            if maps is not None and self.recorded is not None:
                self.recorded.append(maps)
            mixed = paddle.matmul(dropped(weights, dropout), values)
        if memory is not None:
            mixed = _ungrouped(mixed, batch)
        # [batch, heads, queries, head_dim] -> [batch, queries, heads * head_dim]
        return mixed.transpose([0, 2, 1, 3]).reshape([0, 0, self.num_heads * self.head_dim]), maps


@contextmanager
def recorded_attention(layer: nn.Layer) -> Iterator[dict[str, list[AttentionMaps]]]:
    """Record every attention below `layer` while inside: {name of the sublayer: its `AttentionMaps`, one per call}."""
    found = {name: part for name, part in layer.named_sublayers() if isinstance(part, MultiHeadAttention)}
    for part in found.values():
        part.recorded = []
    try:
        yield {name: part.recorded for name, part in found.items() if part.recorded is not None}
    finally:
        for part in found.values():
            part.recorded = None


def _grouped(queries: paddle.Tensor, rows: int) -> paddle.Tensor:
    """Put the queries of one memory side by side, so that `rows` memories serve a larger batch without copies.

    `[rows * n, heads, tokens, head_dim]` → `[rows, heads, n * tokens, head_dim]`.
    """
    batch, heads, tokens, head_dim = queries.shape
    if paddle.in_dynamic_mode() and batch == rows:  # while exporting, sizes are not known yet
        return queries
    split = queries.reshape([rows, batch // rows, heads, tokens, head_dim])
    return split.transpose([0, 2, 1, 3, 4]).reshape([rows, heads, -1, head_dim])


def _ungrouped(mixed: paddle.Tensor, batch: int) -> paddle.Tensor:
    """The inverse of `_grouped`: `[rows, heads, n * tokens, head_dim]` → `[batch, heads, tokens, head_dim]`."""
    rows, heads, _, head_dim = mixed.shape
    if paddle.in_dynamic_mode() and rows == batch:
        return mixed
    split = mixed.reshape([rows, heads, batch // rows, -1, head_dim])
    return split.transpose([0, 2, 1, 3, 4]).reshape([batch, heads, -1, head_dim])
