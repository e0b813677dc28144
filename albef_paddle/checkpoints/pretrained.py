"""`from_pretrained` and `save_pretrained` of ALBEF's models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from albef_paddle.checkpoints.names import layer_numbers, layout_of_ours
from albef_paddle.checkpoints.weights import load_tensors, read_checkpoint
from albef_paddle.config import AlbefConfig
from pyutils.errors import InputError
from pyutils.weights.bert_names import BERT_FIELDS
from pyutils.weights.pretrained import Pretrained

Arrays = Mapping[str, np.ndarray]

_HEAD_SIZE = 64  # of every published model
# Fields of the BERT configuration that the original keeps in a JSON file → ours.
_FOREIGN_FIELDS = {**BERT_FIELDS, "fusion_layer": "fusion_layer"}
_WORDS, _FEED_FORWARD = "text.embeddings.words.table.weight", "feed_forward.expand.bias"


class PretrainedAlbef(Pretrained):
    """See `Pretrained`. The image size and the queue may differ from the file's: positions are interpolated, a queue of
    another size starts anew, and so does a momentum teacher that the file lacks, as a copy of the model.

    has_classes: whether `num_classes` of the configuration is the number of classes of this model.
    """

    config_class = AlbefConfig
    unchecked = ("vision.image_size", "vision.num_heads", "text.num_heads", "queue_size")
    has_classes: ClassVar[bool] = False

    @classmethod
    def read_tensors(cls, file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
        """See `Pretrained`."""
        return read_checkpoint(file), []

    @classmethod
    def fill(cls, model: Any, tensors: Arrays, origin: str, may_miss: list[str]) -> None:
        """See `Pretrained`."""
        load_tensors(model, tensors, origin, may_miss)

    @classmethod
    def sizes(cls, tensors: Arrays) -> dict[str, Any]:
        """See `Pretrained`. InputError when tensors are missing that every ALBEF has."""
        try:
            found = {**_vision_sizes(tensors), **_text_sizes(tensors)}
        except (KeyError, ValueError) as error:
            raise InputError(f"the checkpoint lacks a tensor that every ALBEF has ({error})") from error
        decoder = layer_numbers(tensors, r"^decoder\.text\.fusion_layers\.layers\.(\d+)\.")
        told = {"embed_dim": ("vision_projection.bias", 0), "queue_size": ("queue.images", 1)}
        if cls.has_classes:
            told["num_classes"] = ("classifier.2.bias", 0)
        found |= {field: tensors[name].shape[axis] for field, (name, axis) in told.items() if name in tensors}
        return {**found, "decoder_layers": len(decoder)} if decoder else found

    @classmethod
    def from_foreign(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `Pretrained`."""
        return {"text": {ours: values[theirs] for theirs, ours in _FOREIGN_FIELDS.items() if theirs in values}}

    def own_config(self: Any) -> AlbefConfig:
        """See `Pretrained`."""
        return self.config


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
