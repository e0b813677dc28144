"""Names of BERT's parts in paddlenlp, which uses Paddle's own transformer layers and keeps matrices `[in, out]`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pyutils.weights.names import NORM, TENSOR, NameMap, NameRule

_DENSE = NORM  # weight and bias, neither transposed
_ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}


def layer_rules(theirs: str, ours: str) -> list[NameRule]:
    """Rules of one transformer layer: `theirs` and `ours` are its full names, `{}` for its number."""
    return [
        *(NameRule(f"{theirs}.self_attn.{own}", f"{ours}.attention.attend.{part}", _DENSE)
          for part, own in _ATTENTION.items()),
        NameRule(f"{theirs}.self_attn.out_proj", f"{ours}.attention.output.dense", _DENSE),
        NameRule(f"{theirs}.norm1", f"{ours}.attention.output.norm", NORM),
        NameRule(f"{theirs}.linear1", f"{ours}.feed_forward.expand", _DENSE),
        NameRule(f"{theirs}.linear2", f"{ours}.feed_forward.output.dense", _DENSE),
        NameRule(f"{theirs}.norm2", f"{ours}.feed_forward.output.norm", NORM),
    ]  # fmt: skip


def text_embedding_rules(theirs: str, ours: str) -> list[NameRule]:
    """Rules of the text embeddings."""
    return [
        NameRule(f"{theirs}.word_embeddings.weight", f"{ours}.words.table.weight", TENSOR),
        NameRule(f"{theirs}.position_embeddings.weight", f"{ours}.positions.weight", TENSOR),
        NameRule(f"{theirs}.token_type_embeddings.weight", f"{ours}.token_types.weight", TENSOR),
        NameRule(f"{theirs}.layer_norm", f"{ours}.norm", NORM),
    ]


def masked_language_rules(theirs: str, ours: str) -> list[NameRule]:
    """Rules of the masked-language head; its decoder matrix is the word table and has no rule."""
    return [
        NameRule(f"{theirs}.decoder_bias", f"{ours}.bias", TENSOR),
        NameRule(f"{theirs}.transform", f"{ours}.transform.dense", _DENSE),
        NameRule(f"{theirs}.layer_norm", f"{ours}.transform.norm", NORM),
    ]


_TO_HUGGING_FACE = NameMap(
    [
        *(NameRule(f"bert.encoder.layers.{{}}.self_attn.{own}", f"bert.encoder.layer.{{}}.attention.self.{part}")
          for part, own in _ATTENTION.items()),
        NameRule("bert.encoder.layers.{}.self_attn.out_proj", "bert.encoder.layer.{}.attention.output.dense"),
        NameRule("bert.encoder.layers.{}.norm1", "bert.encoder.layer.{}.attention.output.LayerNorm", NORM),
        NameRule("bert.encoder.layers.{}.linear1", "bert.encoder.layer.{}.intermediate.dense"),
        NameRule("bert.encoder.layers.{}.linear2", "bert.encoder.layer.{}.output.dense"),
        NameRule("bert.encoder.layers.{}.norm2", "bert.encoder.layer.{}.output.LayerNorm", NORM),
        *(NameRule(f"bert.embeddings.{table}_embeddings.weight", f"bert.embeddings.{table}_embeddings.weight", TENSOR)
          for table in ("word", "position", "token_type")),
        NameRule("bert.embeddings.layer_norm", "bert.embeddings.LayerNorm", NORM),
        NameRule("bert.pooler.dense", "bert.pooler.dense"),
        NameRule("cls.predictions.decoder_bias", "cls.predictions.bias", TENSOR),
        NameRule("cls.predictions.decoder_weight", "cls.predictions.decoder.weight", TENSOR),
        NameRule("cls.predictions.transform", "cls.predictions.transform.dense"),
        NameRule("cls.predictions.layer_norm", "cls.predictions.transform.LayerNorm", NORM),
        NameRule("cls.seq_relationship", "cls.seq_relationship"),
    ]
)  # fmt: skip


def bert_as_hugging_face(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """A BERT of paddlenlp, with or without `bert.` before its names, under the names and in the layout of Hugging Face;
    tensors of anything else as they are."""
    if not any(".self_attn.q_proj." in name for name in tensors):
        return tensors
    bare = not any(name.startswith("bert.") for name in tensors)
    found = {f"bert.{name}" if bare and not name.startswith("cls.") else name: value for name, value in tensors.items()}
    converted = _TO_HUGGING_FACE.to_ours(found)
    return {**converted.tensors, **{name: found[name] for name in converted.unmapped}}
