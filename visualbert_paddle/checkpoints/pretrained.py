"""`from_pretrained` and `save_pretrained` of VisualBERT's models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError
from pyutils.layers.bert_config import BERT_FIELDS
from pyutils.weights.pretrained import PretrainedIO
from visualbert_paddle.checkpoints.weights import OTHER_HEADS, read_checkpoint
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.network.heads import VisualBertForQuestionAnswering

Arrays = Mapping[str, np.ndarray]

_HEAD_SIZE = 64  # of every published model
# Fields of Hugging Face's and paddlenlp's configurations → ours.
_FOREIGN_FIELDS = {**BERT_FIELDS, "visual_embedding_dim": "visual_dim", "bypass_transformer": "bypass_encoder"}
_EMBEDDINGS, _LAYERS, _ANSWERS = "encoder.embeddings", "encoder.encoder.layers", "classifier.bias"


class VisualBertIO(PretrainedIO):
    """Loads and saves VisualBERT's models."""

    config_class = VisualBertConfig
    other_heads = OTHER_HEADS
    unchecked = ("num_heads",)

    def read_tensors(self, file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
        return read_checkpoint(file)

    def sizes(self, model_class: type, tensors: Arrays) -> dict[str, Any]:
        """Sizes by field. InputError when the tensors of the text embeddings are missing."""
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

    def from_foreign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of our configuration. Both code bases give regions the token type 1 where none is given."""
        nested = values.get("init_args")
        if isinstance(nested, (list, tuple)) and nested and isinstance(nested[0], Mapping):
            values = nested[0]
        known = {ours: values[theirs] for theirs, ours in _FOREIGN_FIELDS.items() if theirs in values}
        return {**known, "region_token_type": 1}

    def build(self, model_class: Any, config: VisualBertConfig, tensors: Arrays, **arguments: Any) -> Any:
        """A new model; the one for question answering has as many answers as the classifier in `tensors`."""
        if not issubclass(model_class, VisualBertForQuestionAnswering):
            return model_class(config)
        if _ANSWERS not in tensors:
            raise InputError(
                f"the checkpoint lacks {_ANSWERS}, which gives the number of answers: build the model with "
                f"{model_class.__name__}(config, number) and load it with visualbert_paddle.checkpoints.weights"
            )
        return model_class(config, tensors[_ANSWERS].shape[0])
