"""Configuration of VisualBERT's network."""

from __future__ import annotations

from dataclasses import dataclass

from pyutils.config import setting
from pyutils.config.checks import at_least, below
from pyutils.layers.bert_config import BertConfig, ContrastConfig


@dataclass(frozen=True)
class VisualBertConfig(BertConfig):
    """Sizes of the network; the defaults are those of bert-base-uncased with 2048-d regions. InputError for impossible
    sizes."""

    visual_dim: int = setting(2048, "Dimension of the region features.")
    region_token_type: int = setting(0, "Default token type of regions: 0 authors, 1 Hugging Face.")
    bypass_encoder: bool = setting(False, "Only words pass through the encoder; an extra layer adds the regions.")

    contrast: ContrastConfig = setting(ContrastConfig, "Contrastive head of retrieval.")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "visual_dim")
        below(self, "region_token_type", "token_types")
