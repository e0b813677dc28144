"""Configuration of ALBEF's networks."""

from __future__ import annotations

from dataclasses import dataclass

from pyutils.config import setting
from pyutils.config.checks import above, at_least, below, multiple_of, share
from pyutils.layers.bert_config import INIT_STD_HELP, BertConfig, derive_init_std
from pyutils.layers.vit import VisionShape
from pyutils.optim.config import NO_DECAY

DECAY_PRESETS: dict[str, tuple[str, ...]] = {
    "default": (*NO_DECAY, r"(^|\.)temperature$", r"(^|\.)class_token$", r"(^|\.)vision\.positions$"),
    "original": NO_DECAY,
}
"""Parameters without weight decay. `original`: only vectors, so that the scalar temperature, the class token and the
vision transformer's position embeddings decay; `default`: also these."""


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of the vision transformer; the defaults are ViT-B/16."""

    image_size: int = setting(
        256, "Side of the square images in pixels; positions of a checkpoint of another size are interpolated."
    )
    patch_size: int = setting(16, "Side of a patch in pixels.")
    width: int = setting(768, "Hidden size.")
    depth: int = setting(12, "Transformer blocks.")
    num_heads: int = setting(12, "Attention heads.")
    mlp_ratio: float = setting(4.0, "Intermediate size of the MLP as a multiple of `width`.")
    dropout: float = setting(0.0, "Dropout of hidden states.")
    attention_dropout: float = setting(0.0, "Dropout of attention weights.")
    drop_path: float = setting(0.0, "Drop path rate of the last block; increases linearly with depth.")
    layer_norm_eps: float = setting(1e-6, "Epsilon of LayerNorm.")
    init_std: float = setting(0.0, INIT_STD_HELP)

    def __post_init__(self) -> None:
        at_least(self, 1, "image_size", "patch_size", "width", "depth", "num_heads")
        multiple_of(self, "image_size", "patch_size")
        multiple_of(self, "width", "num_heads")
        share(self, "dropout", "attention_dropout", "drop_path")
        above(self, 0, "mlp_ratio", "layer_norm_eps")
        at_least(self, 0, "init_std")
        derive_init_std(self, self.width)

    def shape(self) -> VisionShape:
        """Convert to the argument of `VisionTransformer`."""
        return VisionShape(**self.__dict__)


@dataclass(frozen=True)
class TextConfig(BertConfig):
    """Sizes of the text encoder; the defaults are bert-base-uncased, cross-attention from layer 6."""

    fusion_layer: int = setting(6, "First layer with cross-attention to the image.")

    def __post_init__(self) -> None:
        super().__post_init__()
        below(self, "fusion_layer", "num_layers")


@dataclass(frozen=True)
class AlbefConfig:
    """Sizes and settings of ALBEF's networks, the same for all tasks."""

    vision: VisionConfig = setting(VisionConfig, "The vision transformer.")
    text: TextConfig = setting(TextConfig, "The text encoder.")
    embed_dim: int = setting(256, "Size of the features compared by ITC.")
    temperature: float = setting(0.07, "Initial temperature of ITC.")
    queue_size: int = setting(65536, "Size of the queues of momentum image and text features used as negatives.")
    momentum: float = setting(0.995, "EMA decay of the momentum teacher.")
    distill: bool = setting(True, "Momentum distillation: train also on the teacher's predictions.")
    teacher_dropout: bool = setting(False, "Dropout in the momentum teacher during training, as in the original.")
    decoder_layers: int = setting(6, "Layers of the answer decoder (VQA).")
    num_classes: int = setting(3, "Classes of visual entailment.")

    def __post_init__(self) -> None:
        at_least(self, 1, "embed_dim", "queue_size", "decoder_layers", "num_classes")
        above(self, 0, "temperature")
        share(self, "momentum")
