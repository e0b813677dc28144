"""Text embeddings of BERT (Devlin et al., arXiv 1810.04805, section 3)."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from pyutils.layers.dropout import Dropout
from pyutils.layers.initializers import embedding, layer_norm


class WordEmbedding(nn.Layer):
    """Word table `[vocab_size, hidden_size]` whose row 0 (padding) is looked up like any other but receives no gradient
    from the look-up, as in `torch.nn.Embedding(padding_idx=0)` (a tied decoder still changes it)."""

    def __init__(self, vocab_size: int, hidden_size: int, init_std: float = 0.02):
        super().__init__()
        self.table = embedding(vocab_size, hidden_size, init_std)

    @property
    def weight(self) -> paddle.Tensor:
        """The table itself, for tied decoders."""
        return self.table.weight

    def forward(self, input_ids: paddle.Tensor) -> paddle.Tensor:
        """`[batch, t]` int64 → `[batch, t, hidden_size]`."""
        vectors = self.table(input_ids)
        if not self.training and not paddle.is_grad_enabled():
            return vectors
        return paddle.where((input_ids == 0).unsqueeze(-1), vectors.detach(), vectors)


class TextEmbeddings(nn.Layer):
    """Word + position + token type embeddings, LayerNorm, dropout."""

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        max_positions: int = 512,
        token_types: int = 2,
        layer_norm_eps: float = 1e-12,
        dropout: float = 0.1,
        init_std: float = 0.02,
    ):
        super().__init__()
        self.words = WordEmbedding(vocab_size, hidden_size, init_std)
        self.positions = embedding(max_positions, hidden_size, init_std)
        self.token_types = embedding(token_types, hidden_size, init_std)
        self.norm = layer_norm(hidden_size, layer_norm_eps)
        self.dropout = Dropout(dropout)

    def summed(
        self,
        input_ids: paddle.Tensor,
        token_type_ids: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """The sum before LayerNorm, `[batch, t, hidden_size]`.

        `input_ids`, `token_type_ids` (default 0) and `position_ids` (default 0, 1, …): `[batch, t]` int64. ValueError
        when the text is longer than the position table.
        """
        vectors = self.words(input_ids)
        known = paddle.in_dynamic_mode()  # while exporting, the length is not known
        length = vectors.shape[1] if known else paddle.shape(vectors)[1]
        if position_ids is None:
            if known and length > self.positions.weight.shape[0]:
                raise ValueError(f"text of {length} tokens; the model has {self.positions.weight.shape[0]} positions")
            # [t, hidden] slices broadcast over the batch: no look-up, no index tensor.
            positions = self.positions.weight[:length]
        else:
            positions = self.positions(position_ids)
        types = self.token_types.weight[0] if token_type_ids is None else self.token_types(token_type_ids)
        return vectors + positions + types

    def forward(self, *inputs, **named) -> paddle.Tensor:
        """LayerNorm and dropout of `summed`."""
        return self.dropout(self.norm(self.summed(*inputs, **named)))


def mean_of_rows(table: paddle.Tensor, ids: paddle.Tensor) -> paddle.Tensor:
    """Mean of the rows `ids` `[batch, n, a]` int64 of `table` `[rows, hidden]`, entries below 0 left out; zero where
    none is left. Returns `[batch, n, hidden]`."""
    valid = (ids >= 0).astype(table.dtype)
    rows = F.embedding(paddle.clip(ids, min=0), table) * valid.unsqueeze(-1)
    return rows.sum(axis=2) / paddle.clip(valid.sum(axis=2, keepdim=True), min=1.0)
