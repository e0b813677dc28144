"""`from_pretrained` and `save_pretrained` of ALBEF's models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from albef_paddle.checkpoints.names import layer_numbers, layout_of_ours
from albef_paddle.checkpoints.weights import load_tensors, read_checkpoint
from albef_paddle.config import AlbefConfig
from albef_paddle.network.classification import AlbefForEntailment
from pyutils.errors import InputError
from pyutils.layers.bert_config import BERT_FIELDS
from pyutils.weights.pretrained import PretrainedIO

Arrays = Mapping[str, np.ndarray]

_HEAD_SIZE = 64  # of every published model
# Fields of the BERT configuration that the original keeps in a JSON file → ours.
_FOREIGN_FIELDS = {**BERT_FIELDS, "fusion_layer": "fusion_layer"}
_WORDS, _FEED_FORWARD = "text.embeddings.words.table.weight", "feed_forward.expand.bias"


class AlbefIO(PretrainedIO):
    """Loads and saves ALBEF's models. The image size and the queue may differ from the file's: positions are
    interpolated, a queue of another size starts from scratch, a momentum teacher that the file lacks as a copy of the
    model."""

    config_class = AlbefConfig
    tokenizer_options = {"special_in_text": True}
    unchecked = ("vision.image_size", "vision.num_heads", "text.num_heads", "queue_size")

    def read_tensors(self, file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
        return read_checkpoint(file), []

    def fill(self, model: Any, tensors: Arrays, origin: str, may_miss: list[str]) -> None:
        load_tensors(model, tensors, origin, may_miss)

    def sizes(self, model_class: type, tensors: Arrays) -> dict[str, Any]:
        """Sizes by field. InputError when tensors are missing that every ALBEF has."""
        try:
            found = {**_vision_sizes(tensors), **_text_sizes(tensors)}
        except (KeyError, ValueError) as error:
            raise InputError(f"the checkpoint lacks a tensor that every ALBEF has ({error})") from error
        decoder = layer_numbers(tensors, r"^decoder\.text\.fusion_layers\.layers\.(\d+)\.")
        sources = {"embed_dim": ("vision_projection.bias", 0), "queue_size": ("queue.images", 1)}
        if issubclass(model_class, AlbefForEntailment):
            sources["num_classes"] = ("classifier.2.bias", 0)
        found |= {field: tensors[name].shape[axis] for field, (name, axis) in sources.items() if name in tensors}
        return {**found, "decoder_layers": len(decoder)} if decoder else found

    def from_foreign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"text": {ours: values[theirs] for theirs, ours in _FOREIGN_FIELDS.items() if theirs in values}}


def _vision_sizes(tensors: Arrays) -> dict[str, Any]:
    width, patch = tensors["vision.class_token"].shape[-1], tensors["vision.patches.weight"].shape[-1]
    return {
        "vision.width": width,
        "vision.patch_size": patch,
        "vision.image_size": math.isqrt(tensors["vision.positions"].shape[1] - 1) * patch,
        "vision.depth": len(layer_numbers(tensors, r"^vision\.blocks\.(\d+)\.")),
        "vision.mlp_ratio": tensors["vision.blocks.0.expand.bias"].shape[0] / width,
        "vision.num_heads": max(1, width // _HEAD_SIZE),
    }


def _text_sizes(tensors: Arrays) -> dict[str, Any]:
    layout = layout_of_ours(tensors)
    words, size = tensors[_WORDS].shape
    return {
        "text.vocab_size": words,
        "text.hidden_size": size,
        "text.max_positions": tensors["text.embeddings.positions.weight"].shape[0],
        "text.token_types": tensors["text.embeddings.token_types.weight"].shape[0],
        "text.intermediate_size": tensors[f"text.fusion_layers.layers.0.{_FEED_FORWARD}"].shape[0],
        "text.num_layers": layout.text + layout.fusion // layout.images,
        "text.fusion_layer": layout.text,
        "text.num_heads": max(1, size // _HEAD_SIZE),
    }
