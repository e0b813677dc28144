"""Configuration of VisualBERT's network."""

from __future__ import annotations

from dataclasses import dataclass

from pyutils.checks import at_least, below, check_transformer
from pyutils.config import setting


@dataclass(frozen=True)
class VisualBertConfig:
    """Sizes of the network; the defaults are those of bert-base-uncased with 2048-d regions. InputError for sizes that
    no network can have (`pyutils.checks.check_transformer`)."""

    vocab_size: int = setting(30522, "Entries of the WordPiece vocabulary; 0: as many as vocab.txt has.")
    hidden_size: int = setting(768, "Width of the stream of words and regions.")
    num_layers: int = setting(12, "Transformer layers.")
    num_heads: int = setting(12, "Attention heads.")
    intermediate_size: int = setting(3072, "Width inside the feed-forward part.")
    hidden_act: str = setting("gelu", "Activation: gelu, relu, swish, tanh.")
    hidden_dropout: float = setting(0.1, "Dropout of hidden states.")
    attention_dropout: float = setting(0.1, "Dropout of attention weights.")
    max_positions: int = setting(512, "Rows of the position tables.")
    token_types: int = setting(2, "Rows of the token type tables.")
    visual_dim: int = setting(2048, "Dimension of a region's feature.")
    region_token_type: int = setting(0, "Token type of regions where a task does not say: 0 authors, 1 Hugging Face.")
    layer_norm_eps: float = setting(1e-12, "Epsilon of LayerNorm.")
    init_std: float = setting(0.02, "Standard deviation of initial weights.")
    bypass_encoder: bool = setting(False, "Only words pass through the encoder; regions join in one extra layer.")

    def __post_init__(self) -> None:
        check_transformer(self)
        at_least(self, 1, "visual_dim")
        below(self, "region_token_type", "token_types")

    def layer_shape(self):
        """The shape of one transformer layer."""
        from pyutils.layers.transformer import LayerShape

        return LayerShape(
            hidden_size=self.hidden_size,
            num_heads=self.num_heads,
            intermediate_size=self.intermediate_size,
            hidden_act=self.hidden_act,
            hidden_dropout=self.hidden_dropout,
            attention_dropout=self.attention_dropout,
            layer_norm_eps=self.layer_norm_eps,
            init_std=self.init_std,
        )
