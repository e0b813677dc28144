"""Settings of the transformers of all three models; imports no Paddle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyutils.config import setting
from pyutils.config.checks import above, at_least, check_transformer

_PUBLISHED_WIDTH, _PUBLISHED_STD = 768, 0.02
INIT_STD_HELP = "Standard deviation of initial weights; 0: 0.02 from width 768 on, else 1/√width."


def derive_init_std(config: Any, width: int) -> None:
    """Replace `init_std` 0 of a frozen configuration by the value for a network of `width`.

    0.02 from 768 on, the width of the published networks, which thus start as published; 1/√width below. With 0.02 a
    narrow network starts with attention logits near zero (their deviation is width x init_std² for inputs of unit
    variance: 0.3 at width 768, 0.04 at 96) and with hidden layers that shrink their input, so that some seeds spend
    most of a short training on a plateau. 1/√width keeps both at one. Where weights are loaded, only new heads are left
    with initial values.
    """
    if config.init_std == 0:
        value = _PUBLISHED_STD if width >= _PUBLISHED_WIDTH else round(width**-0.5, 4)
        object.__setattr__(config, "init_std", value)


@dataclass(frozen=True)
class LayerShape:
    """Sizes of a transformer layer.

    `hidden_size`: width of the stream; `intermediate_size`: width inside the feed-forward part; `context_size`: width
    of the input of the cross-attention (None = no cross-attention), whose keys and values the layer projects itself if
    it has `own_memory`; `inner_size`: heads × head_dim (default `hidden_size`).
    """

    hidden_size: int
    num_heads: int
    intermediate_size: int
    hidden_act: str = "gelu"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_eps: float = 1e-12
    init_std: float = 0.02
    context_size: int | None = None
    own_memory: bool = True
    inner_size: int | None = None


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
    """A stack of BERT layers; the defaults are those of bert-base-uncased. InputError for impossible sizes
    (`pyutils.config.checks.check_transformer`)."""

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
        return LayerShape(
            self.hidden_size,
            self.num_heads,
            self.intermediate_size,
            self.hidden_act,
            self.hidden_dropout,
            self.attention_dropout,
            layer_norm_eps,
            init_std,
            context_size or None,
        )


@dataclass(frozen=True)
class BertConfig(StackConfig):
    """A stack with its embeddings; the defaults are those of bert-base-uncased."""

    vocab_size: int = setting(30522, "Entries of the WordPiece vocabulary; 0: as many as vocab.txt has.")
    max_positions: int = setting(512, "Rows of the position tables.")
    token_types: int = setting(2, "Rows of the token type tables.")
    layer_norm_eps: float = setting(1e-12, "Epsilon of LayerNorm.")
    init_std: float = setting(0.0, INIT_STD_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        derive_init_std(self, self.hidden_size)

    def layer_shape(self, context_size: int = 0) -> LayerShape:
        """`shape` with the configuration's own epsilon and initial values."""
        return self.shape(self.layer_norm_eps, self.init_std, context_size)


@dataclass(frozen=True)
class ContrastConfig:
    """The contrastive head of a region model: an addition to the published ones, off by default."""

    dim: int = setting(0, "Size of the features compared by ITC; 0: no contrastive head.")
    temperature: float = setting(0.07, "Initial temperature of ITC.")
    itm: bool = setting(True, "Train ITM on hard negatives as well; false: ITC alone, a cheaper first stage.")

    def __post_init__(self) -> None:
        at_least(self, 0, "dim")
        above(self, 0, "temperature")
