"""Output heads shared by the models."""

from __future__ import annotations

import paddle
from paddle import nn

from pyutils.layers.initializers import ACTIVATIONS, layer_norm, linear


class Pooler(nn.Layer):
    """activation(dense(first token))."""

    def __init__(self, input_size: int, output_size: int | None = None, act: str = "tanh", init_std: float = 0.02):
        super().__init__()
        self.dense = linear(input_size, output_size or input_size, init_std)
        self.activation = ACTIVATIONS[act]

    def forward(self, states: paddle.Tensor) -> paddle.Tensor:
        """`[batch, tokens, input_size]` → `[batch, output_size]`."""
        return self.activation(self.dense(states[:, 0]))


class HeadTransform(nn.Layer):
    """Dense, activation, LayerNorm, in front of BERT's decoders. `output_size`: default `size`."""

    def __init__(
        self,
        size: int,
        act: str = "gelu",
        layer_norm_eps: float = 1e-12,
        init_std: float = 0.02,
        output_size: int | None = None,
    ):
        super().__init__()
        output_size = output_size or size
        self.dense = linear(size, output_size, init_std)
        self.activation = ACTIVATIONS[act]
        self.norm = layer_norm(output_size, layer_norm_eps)

    def forward(self, states: paddle.Tensor) -> paddle.Tensor:
        """`[…, size]` → `[…, output_size]`."""
        return self.norm(self.activation(self.dense(states)))


class MaskedLanguageHead(nn.Layer):
    """Scores over the vocabulary; the decoder's matrix is the word table (tied), its bias belongs to the head."""

    def __init__(
        self,
        hidden_size: int,
        vocab_size: int,
        act: str = "gelu",
        layer_norm_eps: float = 1e-12,
        init_std: float = 0.02,
    ):
        super().__init__()
        self.transform = HeadTransform(hidden_size, act, layer_norm_eps, init_std)
        self.bias = self.create_parameter([vocab_size], is_bias=True, default_initializer=nn.initializer.Constant(0.0))

    def forward(self, states: paddle.Tensor, word_table: paddle.Tensor) -> paddle.Tensor:
        """`states` `[…, hidden]`, `word_table` `[vocab, hidden]` → `[…, vocab]`."""
        return paddle.matmul(self.transform(states), word_table, transpose_y=True) + self.bias


def take_positions(states: paddle.Tensor, positions: int | paddle.Tensor) -> paddle.Tensor:
    """Take row `positions` (an int, or `[batch]` int64) of every sequence: `[batch, tokens, hidden]` → `[batch, 1,
    hidden]`."""
    if isinstance(positions, int):
        return states[:, positions : positions + 1]
    batch = paddle.arange(states.shape[0], dtype=positions.dtype)
    return paddle.gather_nd(states, paddle.stack([batch, positions], axis=-1)).unsqueeze(1)
