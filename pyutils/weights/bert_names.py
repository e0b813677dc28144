"""Names of BERT's parts in PyTorch code bases, for the maps of all three models."""

from __future__ import annotations

from pyutils.weights.names import NORM, TENSOR, NameRule


def layer_rules(theirs: str, ours: str) -> list[NameRule]:
    """Rules of one transformer layer: `theirs` and `ours` are its full names, `{}` for its number."""
    return [
        *attention_rules(f"{theirs}.attention", f"{ours}.attention"),
        *attention_rules(f"{theirs}.crossattention", f"{ours}.cross_attention"),
        NameRule(f"{theirs}.intermediate.dense", f"{ours}.feed_forward.expand"),
        NameRule(f"{theirs}.output.dense", f"{ours}.feed_forward.output.dense"),
        NameRule(f"{theirs}.output.LayerNorm", f"{ours}.feed_forward.output.norm", NORM),
    ]


def attention_rules(theirs: str, ours: str) -> list[NameRule]:
    """Rules of one attention with its output projection and LayerNorm."""
    return [
        *(NameRule(f"{theirs}.self.{part}", f"{ours}.attend.{part}") for part in ("query", "key", "value")),
        NameRule(f"{theirs}.output.dense", f"{ours}.output.dense"),
        NameRule(f"{theirs}.output.LayerNorm", f"{ours}.output.norm", NORM),
    ]


def text_embedding_rules(theirs: str, ours: str) -> list[NameRule]:
    """Rules of the text embeddings."""
    return [
        NameRule(f"{theirs}.word_embeddings.weight", f"{ours}.words.table.weight", TENSOR),
        NameRule(f"{theirs}.position_embeddings.weight", f"{ours}.positions.weight", TENSOR),
        NameRule(f"{theirs}.token_type_embeddings.weight", f"{ours}.token_types.weight", TENSOR),
        NameRule(f"{theirs}.LayerNorm", f"{ours}.norm", NORM),
    ]


def masked_language_rules(theirs: str, ours: str) -> list[NameRule]:
    """Rules of the masked-language head; its decoder matrix is the word table and has no rule."""
    return [
        NameRule(f"{theirs}.bias", f"{ours}.bias", TENSOR),
        NameRule(f"{theirs}.transform.dense", f"{ours}.transform.dense"),
        NameRule(f"{theirs}.transform.LayerNorm", f"{ours}.transform.norm", NORM),
    ]
