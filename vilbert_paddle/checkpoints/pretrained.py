"""`from_pretrained` and `save_pretrained` of ViLBERT's models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike
from pyutils.weights.pretrained import Pretrained
from vilbert_paddle.checkpoints.weights import OTHER_HEADS, read_checkpoint
from vilbert_paddle.config import VilbertConfig, from_original

Arrays = Mapping[str, np.ndarray]

_HEAD_SIZES = {"text": 64, "regions": 128, "co_attention": 128}  # of every published model
# Field → (tensor that tells it, axis).
_TOLD = {
    "vocab_size": ("encoder.text_embeddings.words.table.weight", 0),
    "text.hidden_size": ("encoder.text_embeddings.words.table.weight", 1),
    "max_positions": ("encoder.text_embeddings.positions.weight", 0),
    "token_types": ("encoder.text_embeddings.token_types.weight", 0),
    "task_tokens": ("encoder.text_embeddings.tasks.weight", 0),
    "region_dim": ("encoder.region_embeddings.features.weight", 0),
    "regions.hidden_size": ("encoder.region_embeddings.features.weight", 1),
    "text.intermediate_size": ("encoder.text.layers.0.feed_forward.expand.bias", 0),
    "regions.intermediate_size": ("encoder.regions.layers.0.feed_forward.expand.bias", 0),
    "bridge_size": ("encoder.text_pooler.dense.bias", 0),
    "region_targets": ("heads.masked_regions.decoder.bias", 0),
}


class PretrainedVilbert(Pretrained):
    """See `Pretrained`."""

    config_class = VilbertConfig
    other_heads = OTHER_HEADS
    unchecked = ("text.num_heads", "regions.num_heads", "bridge_heads", "text.connect_at", "regions.connect_at")

    @classmethod
    def read_tensors(cls, file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
        """See `Pretrained`."""
        return read_checkpoint(file)

    @classmethod
    def sizes(cls, tensors: Arrays) -> dict[str, Any]:
        """See `Pretrained`. Where co-attention begins is told by no shape: the last layers of both streams, as in every
        published model. InputError when the tensors of the text embeddings are missing."""
        missing = [name for name in ("vocab_size", "max_positions", "token_types") if _TOLD[name][0] not in tensors]
        if missing:
            raise InputError(f"the checkpoint lacks a tensor that every ViLBERT has ({_TOLD[missing[0]][0]})")
        found = {field: tensors[name].shape[axis] for field, (name, axis) in _TOLD.items() if name in tensors}
        layer_pairs = _count(tensors, "connections")
        for stream in ("text", "regions"):
            layers = _count(tensors, f"{stream}.layers")
            if layer_pairs:
                found[f"{stream}.num_layers"] = layers
                found[f"{stream}.connect_at"] = tuple(range(layers - layer_pairs, layers))
            if f"{stream}.hidden_size" in found:
                found[f"{stream}.num_heads"] = max(1, found[f"{stream}.hidden_size"] // _HEAD_SIZES[stream])
        if "bridge_size" in found:
            found["bridge_heads"] = max(1, found["bridge_size"] // _HEAD_SIZES["co_attention"])
        if any(name.startswith("encoder.regions.") for name in tensors):
            found["gated_regions"] = any(name.startswith("encoder.regions.gates.") for name in tensors)
        if any(name.startswith(("heads.vqa.", "heads.gqa.")) for name in tensors):
            weighed = any(name.endswith(".direction") for name in tensors)
            found["classifier"] = "weight_norm" if weighed else "layer_norm"
        return found

    @classmethod
    def from_foreign(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `Pretrained`."""
        return asdict(from_original(values))

    def own_config(self: Any) -> VilbertConfig:
        """See `Pretrained`."""
        return self.encoder.config


class PretrainedTasks(PretrainedVilbert):
    """`PretrainedVilbert` of a model whose heads are chosen."""

    @classmethod
    def from_pretrained(
        cls,
        source: PathLike,
        may_miss: Iterable[str] = (),
        heads: Iterable[str] | Mapping[str, int | None] | None = None,
        **changes: Any,
    ) -> Any:
        """See `Pretrained`.

        `heads`: as the model takes them, with as many outputs as in the file where no number is given; None: those in
        the file. One that the file lacks is permitted with `may_miss`, e.g. `[r"^heads\\.vqa\\."]`.
        """
        return cls._from_pretrained(source, may_miss, changes, heads=heads)

    @classmethod
    def build(cls: Any, config: VilbertConfig, tensors: Arrays, **choice: Any) -> Any:
        """See `Pretrained`."""
        found, heads = heads_in(tensors), choice.get("heads")
        if heads is None:
            return cls(config, found)
        return cls(config, {name: size or found.get(name) for name, size in outputs_of(heads).items()})


def outputs_of(heads: Iterable[str] | Mapping[str, int | None]) -> dict[str, int | None]:
    """Heads by name → number of outputs (None: not given). InputError for a text: names come in a list."""
    if isinstance(heads, str):
        raise InputError(f"heads: expected a list of names or a mapping of names to outputs, found {heads!r}")
    return dict(heads) if isinstance(heads, Mapping) else dict.fromkeys(heads)


def heads_in(tensors: Arrays) -> dict[str, int]:
    """The heads of a checkpoint with our names, and the number of outputs of each."""
    found = {}
    for name, value in tensors.items():
        match = re.fullmatch(r"heads\.(\w+)\.(decoder\.)?bias", name)
        if match:
            found[match.group(1)] = value.shape[0]
    return found


def _count(tensors: Arrays, part: str) -> int:
    pattern = re.compile(rf"encoder\.{re.escape(part)}\.(\d+)\.")
    return len({match.group(1) for match in map(pattern.match, tensors) if match})
