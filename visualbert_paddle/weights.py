"""VisualBERT's tensor names in Hugging Face's `transformers` and in the authors' code, and the maps to ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import paddle

from pyutils.engine.checkpoint import read_weights, weight_file
from pyutils.engine.loading import LoadReport, load_arrays
from pyutils.errors import InputError
from pyutils.weights.bert_names import layer_rules, masked_language_rules, text_embedding_rules
from pyutils.weights.names import LINEAR, TENSOR, Converted, NameMap, Rule
from pyutils.weights.places import locate

# The two code bases name the same tensors; these are the parts that differ.
HUGGING_FACE = {
    "encoder": "visual_bert",
    "projection": "visual_projection",
    "positions": "visual_position_embeddings",
    "token_types": "visual_token_type_embeddings",
    "pretraining": "cls",
    "classifier": "cls",
    "grounding": "attention",
}
AUTHORS = {
    "encoder": "bert.bert",
    "projection": "projection",
    "positions": "position_embeddings_visual",
    "token_types": "token_type_embeddings_visual",
    "pretraining": "bert.cls",
    "classifier": "bert.classifier",
    "grounding": "bert.flickr_attention",
}

# Heads of a checkpoint that a model of another task does not have.
OTHER_HEADS = (r"^(words|sentence_image|classifier|query|key)\.",)

# Left out in silence: the decoder is tied to the word table; the value projection of the grounding head and the
# detector of VCR checkpoints are never used.
UNUSED = (
    r"cls\.predictions\.decoder\.(weight|bias)$",
    r"(^|\.)(flickr_)?attention\.value\.(weight|bias)$",
    r"^detector\.",
    r"embeddings\.position_ids$",
    r"embeddings\.visual_position_ids$",
)


def rules(names: Mapping[str, str]) -> list[Rule]:
    """All rules of VisualBERT with any of its heads; `names` is HUGGING_FACE or AUTHORS."""
    theirs, ours = names["encoder"], "encoder"
    embeddings = f"{theirs}.embeddings"
    return [
        *text_embedding_rules(embeddings, f"{ours}.embeddings.text"),
        Rule(f"{embeddings}.{names['projection']}", f"{ours}.embeddings.region_projection"),
        Rule(f"{embeddings}.{names['positions']}.weight", f"{ours}.embeddings.region_positions.weight", TENSOR),
        Rule(f"{embeddings}.{names['token_types']}.weight", f"{ours}.embeddings.region_token_types.weight", TENSOR),
        *layer_rules(f"{theirs}.encoder.layer.{{}}", f"{ours}.encoder.layers.{{}}"),
        *layer_rules(f"{theirs}.additional_layer", f"{ours}.joint_layer"),
        Rule(f"{theirs}.pooler.dense", f"{ours}.pooler.dense"),
        *masked_language_rules(f"{names['pretraining']}.predictions", "words"),
        Rule(f"{names['pretraining']}.seq_relationship", "sentence_image"),
        Rule(names["classifier"], "classifier", LINEAR),
        Rule(f"{names['grounding']}.query", "query"),
        Rule(f"{names['grounding']}.key", "key"),
    ]


NAME_MAPS = {
    "huggingface": NameMap(rules(HUGGING_FACE), UNUSED),
    "authors": NameMap(rules(AUTHORS), UNUSED),
}


def convert(tensors: Mapping[str, np.ndarray], origin: str = "checkpoint") -> Converted:
    """Tensors of a VisualBERT checkpoint of either code base under our names.

    `module.` prefixes of data-parallel training are removed. InputError when the names are of neither code base;
    `origin` names the file in the message.
    """
    plain = {re.sub(r"^module\.", "", name): v for name, v in tensors.items()}
    if any(name.startswith(AUTHORS["encoder"] + ".") for name in plain):
        return NAME_MAPS["authors"].to_ours(plain)
    if any(name.startswith(HUGGING_FACE["encoder"] + ".") for name in plain):
        return NAME_MAPS["huggingface"].to_ours(plain)
    shown = ", ".join(sorted(plain)[:3])
    raise InputError(
        f"{origin}: not a VisualBERT checkpoint of Hugging Face ({HUGGING_FACE['encoder']}.…) or of the authors "
        f"({AUTHORS['encoder']}.…); it holds {len(plain)} tensors, e.g. {shown}"
    )


def load_initial(model: paddle.nn.Layer, source: str, may_miss: Iterable[str] = ()) -> LoadReport:
    """Put the weights that `source` names into `model` and report what happened to every tensor.

    `source`: a checkpoint of ours (folder or file), or a `.safetensors` / `.pdparams` file with Hugging Face's or the
    authors' names, or a name below `~/.paddlenlp/models`. `may_miss`: regular expressions of our names that it need not
    hold; heads that this model lacks are passed over. InputError when it does not fit.
    """
    file = weight_file(locate(source))
    tensors = read_weights(file)
    if not any(name.startswith("encoder.embeddings.") for name in tensors):
        converted = convert(tensors, str(file))
        if converted.unmapped:
            raise InputError(f"{file}: no rule for {len(converted.unmapped)} tensors, e.g. {converted.unmapped[0]}")
        tensors = converted.tensors
    return load_arrays(model, tensors, str(file), may_miss, OTHER_HEADS)
