"""Names of BERT's parts in paddlenlp, which uses Paddle's own transformer layers and keeps matrices `[in, out]`."""

from __future__ import annotations

from pyutils.weights.names import NORM, TENSOR, Rule

_DENSE = NORM  # weight and bias, neither transposed
_ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}


def layer_rules(theirs: str, ours: str) -> list[Rule]:
    """Rules of one transformer layer: `theirs` and `ours` are its full names, `{}` for its number."""
    return [
        *(Rule(f"{theirs}.self_attn.{own}", f"{ours}.attention.attend.{part}", _DENSE)
          for part, own in _ATTENTION.items()),
        Rule(f"{theirs}.self_attn.out_proj", f"{ours}.attention.output.dense", _DENSE),
        Rule(f"{theirs}.norm1", f"{ours}.attention.output.norm", NORM),
        Rule(f"{theirs}.linear1", f"{ours}.feed_forward.expand", _DENSE),
        Rule(f"{theirs}.linear2", f"{ours}.feed_forward.output.dense", _DENSE),
        Rule(f"{theirs}.norm2", f"{ours}.feed_forward.output.norm", NORM),
    ]  # fmt: skip


def text_embedding_rules(theirs: str, ours: str) -> list[Rule]:
    """Rules of the text embeddings."""
    return [
        Rule(f"{theirs}.word_embeddings.weight", f"{ours}.words.table.weight", TENSOR),
        Rule(f"{theirs}.position_embeddings.weight", f"{ours}.positions.weight", TENSOR),
        Rule(f"{theirs}.token_type_embeddings.weight", f"{ours}.token_types.weight", TENSOR),
        Rule(f"{theirs}.layer_norm", f"{ours}.norm", NORM),
    ]


def masked_language_rules(theirs: str, ours: str) -> list[Rule]:
    """Rules of the masked-language head; its decoder matrix is the word table and has no rule."""
    return [
        Rule(f"{theirs}.decoder_bias", f"{ours}.bias", TENSOR),
        Rule(f"{theirs}.transform", f"{ours}.transform.dense", _DENSE),
        Rule(f"{theirs}.layer_norm", f"{ours}.transform.norm", NORM),
    ]
