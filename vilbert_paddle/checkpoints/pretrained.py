"""`from_pretrained` and `save_pretrained` of ViLBERT's models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError
from pyutils.weights.pretrained import PretrainedIO
from vilbert_paddle.checkpoints.weights import OTHER_HEADS, read_checkpoint
from vilbert_paddle.config import VilbertConfig, from_original
from vilbert_paddle.network.heads import VilbertForPretraining, outputs_of

Arrays = Mapping[str, np.ndarray]

_HEAD_SIZES = {"text": 64, "regions": 128, "co_attention": 128}  # of every published model
# Field → (tensor whose shape gives it, axis).
_SIZES = {
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


class VilbertIO(PretrainedIO):
    """Loads and saves ViLBERT's models."""

    config_class = VilbertConfig
    other_heads = OTHER_HEADS
    unchecked = ("text.num_heads", "regions.num_heads", "bridge_heads", "text.connect_at", "regions.connect_at")
    build_arguments = ("heads",)

    def read_tensors(self, file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
        return read_checkpoint(file)

    def sizes(self, model_class: type, tensors: Arrays) -> dict[str, Any]:
        """Sizes by field. No shape shows where co-attention begins: in the last layers of both streams, as in every
        published model. InputError when the tensors of the text embeddings are missing."""
        missing = [name for name in ("vocab_size", "max_positions", "token_types") if _SIZES[name][0] not in tensors]
        if missing:
            raise InputError(f"the checkpoint lacks a tensor that every ViLBERT has ({_SIZES[missing[0]][0]})")
        found = {field: tensors[name].shape[axis] for field, (name, axis) in _SIZES.items() if name in tensors}
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

    def from_foreign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return asdict(from_original(values))

    def build(  # type: ignore[override]
        self,
        model_class: Any,
        config: VilbertConfig,
        tensors: Arrays,
        heads: Iterable[str] | Mapping[str, int | None] | None = None,
    ) -> Any:
        """A new model.

        `heads`: as the model takes them, with as many outputs as in the file where no number is given; None: those in
        the file. One that the file lacks is permitted with `may_miss`, e.g. `[r"^heads\\.vqa\\."]`.
        """
        if issubclass(model_class, VilbertForPretraining):
            if heads is not None:
                raise InputError("the heads of pre-training are fixed: take VilbertForTasks to choose some")
            return model_class(config)
        found = _heads_in(tensors)
        if heads is None:
            return model_class(config, found)
        return model_class(config, {name: size or found.get(name) for name, size in outputs_of(heads).items()})


def _heads_in(tensors: Arrays) -> dict[str, int]:
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
