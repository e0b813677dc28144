"""`from_pretrained` and `save_pretrained` of VisualBERT's models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError
from pyutils.weights.bert_names import BERT_FIELDS
from pyutils.weights.pretrained import Pretrained
from visualbert_paddle.checkpoints.weights import OTHER_HEADS, read_checkpoint
from visualbert_paddle.config import VisualBertConfig

Arrays = Mapping[str, np.ndarray]

_HEAD_SIZE = 64  # of every published model
# Fields of Hugging Face's and paddlenlp's configurations → ours.
_FOREIGN_FIELDS = {**BERT_FIELDS, "visual_embedding_dim": "visual_dim", "bypass_transformer": "bypass_encoder"}
_EMBEDDINGS, _LAYERS = "encoder.embeddings", "encoder.encoder.layers"


class PretrainedVisualBert(Pretrained):
    """See `Pretrained`. A class whose head has a size of its own sets `head_size_from`, the tensor that tells it."""

    config_class = VisualBertConfig
    other_heads = OTHER_HEADS
    unchecked = ("num_heads",)
    head_size_from: str | None = None

    @classmethod
    def read_tensors(cls, file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
        """See `Pretrained`."""
        return read_checkpoint(file)

    @classmethod
    def sizes(cls, tensors: Arrays) -> dict[str, Any]:
        """See `Pretrained`. InputError when the tensors of the text embeddings are missing."""
        try:
            vocab_size, hidden_size = tensors[f"{_EMBEDDINGS}.text.words.table.weight"].shape
            found = {
                "vocab_size": vocab_size,
                "hidden_size": hidden_size,
                "max_positions": tensors[f"{_EMBEDDINGS}.text.positions.weight"].shape[0],
                "token_types": tensors[f"{_EMBEDDINGS}.text.token_types.weight"].shape[0],
                "intermediate_size": tensors[f"{_LAYERS}.0.feed_forward.expand.bias"].shape[0],
            }
        except (KeyError, ValueError) as error:
            raise InputError(f"the checkpoint lacks a tensor that every VisualBERT has ({error})") from error
        layers = {match.group(1) for match in map(re.compile(rf"{_LAYERS}\.(\d+)\.").match, tensors) if match}
        found |= {"num_layers": len(layers), "num_heads": max(1, hidden_size // _HEAD_SIZE)}
        if f"{_EMBEDDINGS}.region_projection.weight" in tensors:
            found["visual_dim"] = tensors[f"{_EMBEDDINGS}.region_projection.weight"].shape[0]
            found["bypass_encoder"] = any(name.startswith("encoder.joint_layer.") for name in tensors)
        return found

    @classmethod
    def from_foreign(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `Pretrained`. Both code bases give regions the token type 1 where none is given."""
        nested = values.get("init_args")
        if isinstance(nested, (list, tuple)) and nested and isinstance(nested[0], Mapping):
            values = nested[0]
        known = {ours: values[theirs] for theirs, ours in _FOREIGN_FIELDS.items() if theirs in values}
        return {**known, "region_token_type": 1}

    @classmethod
    def build(cls: Any, config: VisualBertConfig, tensors: Arrays, **choice: Any) -> Any:
        """See `Pretrained`."""
        if cls.head_size_from is None:
            return cls(config)
        if cls.head_size_from not in tensors:
            raise InputError(
                f"the checkpoint holds no {cls.head_size_from}, which tells how many answers there are: build the "
                f"model with {cls.__name__}(config, number) and load it with visualbert_paddle.checkpoints.weights"
            )
        return cls(config, tensors[cls.head_size_from].shape[0])

    def own_config(self: Any) -> VisualBertConfig:
        """See `Pretrained`."""
        return self.encoder.config
