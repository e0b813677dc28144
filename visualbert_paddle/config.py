"""Configuration of VisualBERT's network."""

from __future__ import annotations

from dataclasses import dataclass

from pyutils.config import setting
from pyutils.config.checks import at_least, below
from pyutils.layers.bert_config import BertConfig


@dataclass(frozen=True)
class VisualBertConfig(BertConfig):
    """Sizes of the network; the defaults are those of bert-base-uncased with 2048-d regions. InputError for sizes that
    no network can have."""

    visual_dim: int = setting(2048, "Dimension of a region's feature.")
    region_token_type: int = setting(0, "Token type of regions where a task does not say: 0 authors, 1 Hugging Face.")
    bypass_encoder: bool = setting(False, "Only words pass through the encoder; regions join in one extra layer.")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "visual_dim")
        below(self, "region_token_type", "token_types")
