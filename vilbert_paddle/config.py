"""Configuration of ViLBERT's network, and conversion of the original's JSON configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyutils.config import setting
from pyutils.config.checks import at_least, check_transformer, multiple_of
from pyutils.config.recipes import recipe_folder
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike
from pyutils.formats.json_files import check_fields, read_json
from pyutils.layers.bert_config import BERT_FIELDS, INIT_STD_HELP, ContrastConfig, StackConfig, derive_init_std

CONFIGS = recipe_folder(Path(__file__).resolve().parent)
"""Folder of the package's recipes."""
LOCATION_SIZE = 5  # x1, y1, x2, y2 as shares of width and height, and the share of the area

if TYPE_CHECKING:
    from pyutils.layers.transformer import LayerShape


@dataclass(frozen=True)
class StreamConfig(StackConfig):
    """One of the two streams; the defaults are those of the text stream (bert-base-uncased)."""

    connect_at: tuple[int, ...] = setting(
        (6, 7, 8, 9, 10, 11), "Number of the stream's layers before each co-attention layer."
    )
    fixed_layers: int = setting(0, "Number of first layers without gradient, as the stream's embeddings are then.")

    @property
    def first_co_attention(self) -> int:
        """Number of layers before the first co-attention layer."""
        return self.connect_at[0] if self.connect_at else self.num_layers


@dataclass(frozen=True)
class RegionStreamConfig(StreamConfig):
    """The visual stream; the defaults are the paper's."""

    hidden_size: int = setting(1024, "Width of the stream.")
    num_layers: int = setting(6, "Transformer layers of the stream.")
    num_heads: int = setting(8, "Attention heads.")
    intermediate_size: int = setting(1024, "Width inside the feed-forward parts.")
    connect_at: tuple[int, ...] = setting(
        (0, 1, 2, 3, 4, 5), "Number of the stream's layers before each co-attention layer."
    )


@dataclass(frozen=True)
class VilbertConfig:
    """Sizes of the network; the defaults are the paper's (`bert_base_6layer_6conect.json`)."""

    vocab_size: int = setting(30522, "Entries of the WordPiece vocabulary; 0: those of vocab.txt.")
    max_positions: int = setting(512, "Rows of the position table.")
    token_types: int = setting(2, "Rows of the token type table.")
    region_dim: int = setting(2048, "Dimension of a region's feature.")
    region_targets: int = setting(1601, "Outputs of the masked-region head: detector classes, or region_dim.")
    text: StreamConfig = setting(StreamConfig, "The text stream.")
    regions: RegionStreamConfig = setting(RegionStreamConfig, "The visual stream.")
    bridge_size: int = setting(1024, "Width of the co-attention and of the pooled vectors.")
    bridge_heads: int = setting(8, "Heads of the co-attention.")
    coattention: bool = setting(True, "False: skip the co-attention layers.")
    gated_regions: bool = setting(False, "Dynamic attention: the text scales queries and keys of visual layers.")
    task_tokens: int = setting(0, "Rows of the task token table (12-in-1: 20); 0: no task token after [CLS].")
    fusion: Literal["mul", "sum"] = setting("mul", "Fusion of the two pooled vectors.")
    classifier: Literal["layer_norm", "weight_norm"] = setting(
        "layer_norm",
        "Answer classifiers: GELU and LayerNorm, or weight norm and ReLU (ViLBERT 1, the old Paddle port).",
    )
    contrast: ContrastConfig = setting(ContrastConfig, "Contrastive head over the streams before co-attention.")
    layer_norm_eps: float = setting(1e-12, "Epsilon of LayerNorm.")
    init_std: float = setting(0.0, INIT_STD_HELP)

    def __post_init__(self) -> None:
        check_transformer(self)
        # One value serves both streams, as in the original.
        derive_init_std(self, min(self.text.hidden_size, self.regions.hidden_size))
        at_least(self, 1, "region_dim", "region_targets", "bridge_size", "bridge_heads")
        multiple_of(self, "bridge_size", "bridge_heads")
        at_least(self, 0, "task_tokens")
        if self.contrast.dim and self.gated_regions and self.regions.first_co_attention:
            raise InputError("contrast.dim: gated visual layers read the text, so no image can be encoded alone; set 0")
        ours, theirs = self.text.connect_at, self.regions.connect_at
        if len(ours) != len(theirs):
            raise InputError(
                f"text.connect_at has {len(ours)} co-attention layers, regions.connect_at {len(theirs)}: expected the "
                "same number"
            )
        for name, stream in (("text", self.text), ("regions", self.regions)):
            counts = list(stream.connect_at)
            if counts != sorted(counts) or any(not 0 <= count <= stream.num_layers for count in counts):
                raise InputError(
                    f"{name}.connect_at {counts}: expected ascending numbers from 0 to {stream.num_layers} "
                    f"({name}.num_layers)"
                )
            if stream.fixed_layers > stream.first_co_attention:
                raise InputError(
                    f"{name}.fixed_layers is {stream.fixed_layers}: expected at most {stream.first_co_attention}, the "
                    "layers before the first co-attention layer"
                )

    def layer_shape(self, stream: StreamConfig) -> LayerShape:
        """The shape of one self-attention layer of `stream`."""
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
# Fields that the original never reads, or that choose how a model is used, which are arguments here.
IGNORED_FIELDS = {
    "bi_attention_type", "bi_intermediate_size", "fast_mode", "in_batch_pairs", "intra_gate", "model", "num_negative",
    "objective", "pooling_method", "predict_feature", "v_initializer_range", "visual_target", "visualization",
}  # fmt: skip
# Fields whose defaults differ from the original's; every published file has them.
REQUIRED_FIELDS = (
    "v_hidden_size", "v_num_hidden_layers", "v_num_attention_heads", "v_intermediate_size", "v_biattention_id",
    "t_biattention_id", "bi_hidden_size", "bi_num_attention_heads",
)  # fmt: skip
TASK_TOKENS = 20  # rows of the original's table


def from_original(fields: Mapping[str, Any], origin: str = "configuration") -> VilbertConfig:
    """Convert the fields of an original configuration; `origin` names the file in messages.

    Raises:
        InputError: an unknown field, a missing size of the visual stream or the co-attention, or sizes that do not fit.
    """
    check_fields(fields, REQUIRED_FIELDS, f"{origin}, which should be a ViLBERT configuration")
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
    """Convert the JSON file that --config_file of the originals takes. Raises InputError as `from_original`."""
    return from_original(read_json(Path(path)), str(path))
