"""The parts of ViLBERT's two streams (Lu et al., arXiv 1908.02265, section 3.1): embeddings, layers, co-attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from pyutils.compat import recompute
from pyutils.layers.attention import attention_bias
from pyutils.layers.dropout import Dropout
from pyutils.layers.embeddings import TextEmbeddings
from pyutils.layers.initializers import embedding, layer_norm, linear
from pyutils.layers.transformer import AttentionBlock, FeedForward, LayerShape, TransformerLayer
from vilbert_paddle.config import LOCATION_SIZE, StreamConfig, VilbertConfig

Wanted = Literal["all", "first", "none"]
"""Which hidden states of a stream the caller reads: all, those of the first position, none."""


class Stream(NamedTuple):
    """Hidden states of one stream: `states` `[batch, tokens, hidden]`, `mask` `[batch, tokens]` float32 (1 = real)."""

    states: paddle.Tensor
    mask: paddle.Tensor

    @property
    def bias(self) -> paddle.Tensor:
        """Additive attention bias of the mask, `[batch, 1, 1, tokens]`."""
        return attention_bias(self.mask)


class WordEmbeddings(TextEmbeddings):
    """BERT's text embeddings, with a task token behind [CLS] where the model has them (12-in-1, section 3.2)."""

    def __init__(self, config: VilbertConfig):
        size = config.text.hidden_size
        super().__init__(
            config.vocab_size,
            size,
            config.max_positions,
            config.token_types,
            config.layer_norm_eps,
            config.text.hidden_dropout,
            config.init_std,
        )
        self.tasks = embedding(config.task_tokens, size, config.init_std) if config.task_tokens else None

    def summed(  # type: ignore[override]
        self, input_ids: paddle.Tensor, token_type_ids: paddle.Tensor | None, task_ids: paddle.Tensor | None
    ) -> paddle.Tensor:
        """The sum before LayerNorm: `[batch, t, hidden]`, with `task_ids` `[batch, 1]` int64 `[batch, t + 1, hidden]`.

        The task token has neither position nor token type; the words keep theirs.

        Raises:
            ValueError: task ids are missing, or the model has no task tokens.
        """
        if (task_ids is None) != (self.tasks is None):
            needs = "needs" if task_ids is None else "has no task tokens (task_tokens: 0) and takes no"
            raise ValueError(f"this model {needs} task_ids")
        words = TextEmbeddings.summed(self, input_ids, token_type_ids)  # Paddle 2.6 exports no super()
        if task_ids is None or self.tasks is None:
            return words
        return paddle.concat([words[:, :1], self.tasks(task_ids.reshape([-1, 1])), words[:, 1:]], axis=1)


class RegionEmbeddings(nn.Layer):
    """LayerNorm(projected feature + projected location), dropout."""

    def __init__(self, config: VilbertConfig):
        super().__init__()
        size = config.regions.hidden_size
        self.features = linear(config.region_dim, size, config.init_std)
        self.locations = linear(LOCATION_SIZE, size, config.init_std)
        self.norm = layer_norm(size, config.layer_norm_eps)
        # The original takes the text stream's rate here.
        self.dropout = Dropout(config.text.hidden_dropout)

    def forward(self, features: paddle.Tensor, locations: paddle.Tensor) -> paddle.Tensor:
        """`features` `[batch, r, region_dim]`, `locations` `[batch, r, 5]` → `[batch, r, hidden]`."""
        return self.dropout(self.norm(self.features(features) + self.locations(locations)))


class TextGate(nn.Layer):
    """Dynamic attention: factors 1 + sigmoid(linear(mean word)) for the queries and keys of a visual layer."""

    def __init__(self, config: VilbertConfig):
        super().__init__()
        self.query = linear(config.text.hidden_size, config.regions.hidden_size, config.init_std)
        self.key = linear(config.text.hidden_size, config.regions.hidden_size, config.init_std)

    def forward(self, words: Stream) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Two `[batch, 1, visual hidden]`."""
        weights = words.mask.unsqueeze(-1)
        mean = (words.states * weights).sum(axis=1, keepdim=True) / weights.sum(axis=1, keepdim=True)
        return 1.0 + F.sigmoid(self.query(mean)), 1.0 + F.sigmoid(self.key(mean))


class StreamLayers(nn.Layer):
    """The self-attention layers of one stream. `recompute_layers` trades time for memory while training."""

    def __init__(self, config: VilbertConfig, stream: StreamConfig, gated: bool = False):
        super().__init__()
        self.layers = nn.LayerList([TransformerLayer(config.layer_shape(stream)) for _ in range(stream.num_layers)])
        self.gates = nn.LayerList([TextGate(config) for _ in range(stream.num_layers if gated else 0)])
        self.recompute_layers = False

    def run(
        self,
        stream: Stream,
        start: int,
        stop: int,
        words: Stream | None = None,
        read: Wanted = "all",
    ) -> Stream:
        """Run the layers `start` to `stop` - 1.

        `words`: the text stream, for gates. `read`: which hidden states of the last layer to compute; with "none" no
        layer runs.
        """
        for number in range(start, start if read == "none" else stop):
            layer, states = self.layers[number], stream.states
            options = {}
            if len(self.gates):
                options["gate"] = self.gates[number](words)
            if read == "first" and number == stop - 1:
                options["wanted"] = states[:, :1]
            # Recomputation gives no gradient to a layer whose input needs none.
            if self.recompute_layers and self.training and not states.stop_gradient:
                states, _ = recompute(layer, states, stream.bias, **options)
            else:
                states, _ = layer(states, stream.bias, **options)
            stream = Stream(states, stream.mask)  # Paddle 2.6 exports no _replace
        return stream


class CoAttentionHalf(nn.Layer):
    """One stream's half of a co-attention layer: attention over the other stream, then feed-forward."""

    def __init__(self, shape: LayerShape):
        super().__init__()
        self.attention = AttentionBlock(shape, shape.context_size)
        self.feed_forward = FeedForward(shape)

    def forward(self, own: Stream, other: Stream) -> Stream:
        """Attend from the queries of `own` to the keys and values of `other`; returns `own` with new hidden states."""
        mixed, _ = self.attention(own.states, other.bias, context=other.states)
        return Stream(self.feed_forward(mixed), own.mask)


class CoAttentionLayer(nn.Layer):
    """Co-attention layer (figure 2b): each stream attends to the other, both from their states before it."""

    def __init__(self, config: VilbertConfig):
        super().__init__()
        text, regions = config.layer_shape(config.text), config.layer_shape(config.regions)

        def half(own: LayerShape, other: LayerShape) -> CoAttentionHalf:
            return CoAttentionHalf(
                replace(
                    own,
                    num_heads=config.bridge_heads,
                    inner_size=config.bridge_size,
                    context_size=other.hidden_size,
                    attention_dropout=other.attention_dropout,  # the rate of the stream that is attended to
                )
            )

        self.text, self.regions = half(text, regions), half(regions, text)

    def forward(self, words: Stream, boxes: Stream, text: bool = True, regions: bool = True) -> tuple[Stream, Stream]:
        """Return both streams; one that is not needed (`text`, `regions` False) is returned unchanged."""
        return self.text(words, boxes) if text else words, self.regions(boxes, words) if regions else boxes
