"""Configuration of ViLBERT's network, and the original's JSON configurations read into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyutils.config import setting
from pyutils.config.checks import at_least, check_transformer, multiple_of
from pyutils.config.recipes import recipe_folder
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike
from pyutils.layers.bert_config import StackConfig
from pyutils.weights.bert_names import BERT_FIELDS

CONFIGS = recipe_folder(Path(__file__).resolve().parent)
"""Folder of the package's recipes."""
LOCATION_SIZE = 5  # x1, y1, x2, y2 as shares of width and height, and the share of the area

if TYPE_CHECKING:
    from pyutils.layers.transformer import LayerShape


@dataclass(frozen=True)
class StreamConfig(StackConfig):
    """One of the two streams; the defaults are those of the text stream (bert-base-uncased)."""

    connect_at: tuple[int, ...] = setting(
        (6, 7, 8, 9, 10, 11), "How many layers of the stream precede each co-attention layer."
    )
    fixed_layers: int = setting(0, "First layers that get no gradient, the embeddings of the stream with them.")

    @property
    def first_connection(self) -> int:
        """How many layers precede the first co-attention layer."""
        return self.connect_at[0] if self.connect_at else self.num_layers


@dataclass(frozen=True)
class RegionStreamConfig(StreamConfig):
    """The visual stream; the defaults are the paper's."""

    hidden_size: int = setting(1024, "Width of the stream.")
    num_layers: int = setting(6, "Transformer layers of the stream.")
    num_heads: int = setting(8, "Attention heads.")
    intermediate_size: int = setting(1024, "Width inside the feed-forward parts.")
    connect_at: tuple[int, ...] = setting(
        (0, 1, 2, 3, 4, 5), "How many layers of the stream precede each co-attention layer."
    )


@dataclass(frozen=True)
class VilbertConfig:
    """Sizes of the network; the defaults are the paper's (`bert_base_6layer_6conect.json`). InputError when the two
    streams do not fit together."""

    vocab_size: int = setting(30522, "Entries of the WordPiece vocabulary; 0: as many as vocab.txt has.")
    max_positions: int = setting(512, "Rows of the position table.")
    token_types: int = setting(2, "Rows of the token type table.")
    region_dim: int = setting(2048, "Dimension of a region's feature.")
    region_targets: int = setting(1601, "Numbers the image head predicts: detector classes, or region_dim.")
    text: StreamConfig = setting(StreamConfig, "The text stream.")
    regions: RegionStreamConfig = setting(RegionStreamConfig, "The visual stream.")
    bridge_size: int = setting(1024, "Width of the co-attention and of the pooled vectors.")
    bridge_heads: int = setting(8, "Heads of the co-attention.")
    coattention: bool = setting(True, "False: the streams never meet (the co-attention layers are passed over).")
    gated_regions: bool = setting(False, "Dynamic attention: the text scales queries and keys of visual layers.")
    task_tokens: int = setting(0, "Rows of the task token table (12-in-1: 20); 0: no task token after [CLS].")
    fusion: Literal["mul", "sum"] = setting("mul", "How the two pooled vectors become one.")
    classifier: Literal["layer_norm", "weight_norm"] = setting(
        "layer_norm",
        "Answer classifiers: GELU and LayerNorm, or weight norm and ReLU (ViLBERT 1, the old Paddle port).",
    )
    layer_norm_eps: float = setting(1e-12, "Epsilon of LayerNorm.")
    init_std: float = setting(0.02, "Standard deviation of initial weights.")

    def __post_init__(self) -> None:
        check_transformer(self)
        at_least(self, 1, "region_dim", "region_targets", "bridge_size", "bridge_heads")
        multiple_of(self, "bridge_size", "bridge_heads")
        at_least(self, 0, "task_tokens")
        ours, theirs = self.text.connect_at, self.regions.connect_at
        if len(ours) != len(theirs):
            raise InputError(
                f"text.connect_at names {len(ours)} co-attention layers, regions.connect_at {len(theirs)}: give both "
                "streams the same number"
            )
        for name, stream in (("text", self.text), ("regions", self.regions)):
            places = list(stream.connect_at)
            if places != sorted(places) or any(not 0 <= place <= stream.num_layers for place in places):
                raise InputError(
                    f"{name}.connect_at {places}: expected ascending numbers from 0 to {stream.num_layers} "
                    f"({name}.num_layers)"
                )
            if stream.fixed_layers > stream.first_connection:
                raise InputError(
                    f"{name}.fixed_layers is {stream.fixed_layers}, but the streams meet after layer "
                    f"{stream.first_connection}: only layers before that can be fixed"
                )

    def layer_shape(self, stream: StreamConfig) -> LayerShape:
        """The shape of one ordinary layer of `stream`."""
        return stream.shape(self.layer_norm_eps, self.init_std)


_STACK = {theirs: ours for theirs, ours in BERT_FIELDS.items() if ours in {item.name for item in fields(StackConfig)}}
# Field of the original's JSON → ours (dotted).
ORIGINAL_FIELDS: dict[str, str] = {
    **{theirs: f"text.{ours}" for theirs, ours in _STACK.items()},
    **{f"v_{theirs}": f"regions.{ours}" for theirs, ours in _STACK.items()},
    "t_biattention_id": "text.connect_at",
    "v_biattention_id": "regions.connect_at",
    "fixed_t_layer": "text.fixed_layers",
    "fixed_v_layer": "regions.fixed_layers",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "token_types",
    "v_feature_size": "region_dim",
    "v_target_size": "region_targets",
    "bi_hidden_size": "bridge_size",
    "bi_num_attention_heads": "bridge_heads",
    "with_coattention": "coattention",
    "dynamic_attention": "gated_regions",
    "fusion_method": "fusion",
    "initializer_range": "init_std",
}
# Fields that the original never reads, or that say how a model is used (arguments of ours), not what it is.
IGNORED_FIELDS = {
    "bi_attention_type", "bi_intermediate_size", "fast_mode", "in_batch_pairs", "intra_gate", "model", "num_negative",
    "objective", "pooling_method", "predict_feature", "v_initializer_range", "visual_target", "visualization",
}  # fmt: skip
# Fields whose defaults in the original are not ours; every published file gives them.
REQUIRED_FIELDS = (
    "v_hidden_size", "v_num_hidden_layers", "v_num_attention_heads", "v_intermediate_size", "v_biattention_id",
    "t_biattention_id", "bi_hidden_size", "bi_num_attention_heads",
)  # fmt: skip
TASK_TOKENS = 20  # rows of the original's table


def from_original(fields: Mapping[str, Any], origin: str = "configuration") -> VilbertConfig:
    """Our configuration for the fields of an original one. InputError on an unknown field and when the sizes of the
    visual stream are not given; `origin` names the file in messages."""
    missing = [name for name in REQUIRED_FIELDS if name not in fields]
    if missing:
        raise InputError(f"{origin}: no {', '.join(missing)}: not a ViLBERT configuration, or not a whole one")
    tree: dict[str, Any] = {"text": {}, "regions": {}}
    for name, value in fields.items():
        value = tuple(value) if isinstance(value, list) else value
        if name == "task_specific_tokens":
            tree["task_tokens"] = TASK_TOKENS if value else 0
        elif name in ORIGINAL_FIELDS:
            *stream, key = ORIGINAL_FIELDS[name].split(".")
            (tree[stream[0]] if stream else tree)[key] = value
        elif name not in IGNORED_FIELDS:
            known = [*ORIGINAL_FIELDS, *IGNORED_FIELDS]
            raise InputError(f"{origin}: no ViLBERT configuration has the field {name!r}: {nearest(name, known)}")
    tree["text"] = StreamConfig(**tree["text"])
    tree["regions"] = RegionStreamConfig(**tree["regions"])
    try:
        return VilbertConfig(**tree)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None


def read_original_config(path: PathLike) -> VilbertConfig:
    """`from_original` of a JSON file, as the flag --config_file of the originals names one."""
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; expected a ViLBERT configuration in JSON"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); YAML configurations go to --config") from error
    if not isinstance(fields, dict):
        raise InputError(f"{path}: expected an object of fields, found {type(fields).__name__}")
    return from_original(fields, str(path))
