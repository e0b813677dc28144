"""The settings that the transformers of all three models have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyutils.config import setting
from pyutils.config.checks import check_transformer

if TYPE_CHECKING:
    from pyutils.layers.transformer import LayerShape

BERT_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_size",
    "hidden_act": "hidden_act",
    "hidden_dropout_prob": "hidden_dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "token_types",
    "layer_norm_eps": "layer_norm_eps",
    "initializer_range": "init_std",
}
"""Field of Hugging Face's and paddlenlp's configurations → ours (`StackConfig` and the models')."""


@dataclass(frozen=True)
class StackConfig:
    """A stack of BERT layers; the defaults are those of bert-base-uncased. InputError for sizes that no network can
    have (`pyutils.config.checks.check_transformer`)."""

    hidden_size: int = setting(768, "Width of the stream.")
    num_layers: int = setting(12, "Transformer layers of the stream.")
    num_heads: int = setting(12, "Attention heads.")
    intermediate_size: int = setting(3072, "Width inside the feed-forward parts.")
    hidden_act: str = setting("gelu", "Activation: gelu, relu, swish, tanh.")
    hidden_dropout: float = setting(0.1, "Dropout of hidden states.")
    attention_dropout: float = setting(0.1, "Dropout of attention weights.")

    def __post_init__(self) -> None:
        check_transformer(self)

    def shape(self, layer_norm_eps: float, init_std: float, context_size: int = 0) -> LayerShape:
        """The shape of a layer, one that attends to states of width `context_size` (0: without cross-attention)."""
        from pyutils.layers.transformer import LayerShape

        return LayerShape(
            hidden_size=self.hidden_size,
            num_heads=self.num_heads,
            intermediate_size=self.intermediate_size,
            hidden_act=self.hidden_act,
            hidden_dropout=self.hidden_dropout,
            attention_dropout=self.attention_dropout,
            layer_norm_eps=layer_norm_eps,
            init_std=init_std,
            context_size=context_size or None,
        )


@dataclass(frozen=True)
class BertConfig(StackConfig):
    """A stack with its embeddings; the defaults are those of bert-base-uncased."""

    vocab_size: int = setting(30522, "Entries of the WordPiece vocabulary; 0: as many as vocab.txt has.")
    max_positions: int = setting(512, "Rows of the position tables.")
    token_types: int = setting(2, "Rows of the token type tables.")
    layer_norm_eps: float = setting(1e-12, "Epsilon of LayerNorm.")
    init_std: float = setting(0.02, "Standard deviation of initial weights.")

    def layer_shape(self, context_size: int = 0) -> LayerShape:
        """See `shape`."""
        return self.shape(self.layer_norm_eps, self.init_std, context_size)
