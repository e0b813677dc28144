"""VisualBERT's tensor names in every code base that has trained it, and the maps to ours.

authors       the `.th` files of uclanlp/visualbert            `bert.bert.…`
huggingface   `transformers`                                   `visual_bert.…`
mmf           MMF (`model.pth`, with or without `model.`)      `bert.…` with visual tables
paddlenlp     PaddleNLP, the nine community `.pdparams`        `visual_bert.…`, Paddle's own transformer layers
bert          a text-only BERT with Hugging Face's names       `bert.…`
paddlenlp_bert  a text-only BERT of paddlenlp                  `bert.…`
"""

from __future__ import annotations

from collections.abc import Mapping

from pyutils.weights import bert_names, paddlenlp_names
from pyutils.weights.names import LINEAR, NORM, TENSOR, NameMap, NameRule

# The code bases name the same tensors; these are the parts that differ. What one of them lacks has no entry.
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
MMF = {**AUTHORS, "encoder": "bert", "pretraining": "cls"}
MMF = {part: name for part, name in MMF.items() if part not in ("classifier", "grounding")}
PADDLENLP = {part: name for part, name in HUGGING_FACE.items() if part != "grounding"}
BERT = {"encoder": "bert", "pretraining": "cls"}

# Left out in silence: the decoder is tied to the word table; the value projection of the grounding head and the
# detector of VCR checkpoints are never used; the classifiers of MMF have a layer more than ours.
UNUSED = (
    r"cls\.predictions\.decoder\.(weight|bias)$",
    r"cls\.predictions\.decoder_weight$",
    r"(^|\.)(flickr_)?attention\.value\.(weight|bias)$",
    r"^detector\.",
    r"embeddings\.(visual_)?position_ids$",
)
MMF_CLASSIFIER = (r"^classifier\.[01]\.",)

# Second names of tied tensors below the language head, for files that the other code bases load strictly.
TIED = {
    "huggingface": {"decoder.weight": "words", "decoder.bias": "bias"},
    "authors": {"decoder.weight": "words"},
    "mmf": {"decoder.weight": "words", "decoder.bias": "bias"},
    "paddlenlp": {"decoder_weight": "words"},
}


def rules(names: Mapping[str, str]) -> list[NameRule]:
    """All rules of VisualBERT with any of its heads, for code bases with PyTorch's names."""
    theirs = names["encoder"]
    return [
        *bert_names.text_embedding_rules(f"{theirs}.embeddings", "encoder.embeddings.text"),
        *_region_rules(names, LINEAR),
        *bert_names.layer_rules(f"{theirs}.encoder.layer.{{}}", "encoder.encoder.layers.{}"),
        *bert_names.layer_rules(f"{theirs}.additional_layer", "encoder.joint_layer"),
        *bert_names.masked_language_rules(f"{names['pretraining']}.predictions", "words"),
        *_head_rules(names, LINEAR),
    ]


def paddlenlp_rules(names: Mapping[str, str], layers: str) -> list[NameRule]:
    """All rules of VisualBERT for paddlenlp; `layers`: where its transformer layers are."""
    theirs = names["encoder"]
    return [
        *paddlenlp_names.text_embedding_rules(f"{theirs}.embeddings", "encoder.embeddings.text"),
        *_region_rules(names, NORM),
        *paddlenlp_names.layer_rules(f"{theirs}.{layers}.{{}}", "encoder.encoder.layers.{}"),
        *paddlenlp_names.layer_rules(f"{theirs}.encoder.layers.{{}}", "encoder.encoder.layers.{}"),
        *paddlenlp_names.layer_rules(f"{theirs}.additional_layer", "encoder.joint_layer"),
        *paddlenlp_names.masked_language_rules(f"{names['pretraining']}.predictions", "words"),
        *_head_rules(names, NORM),
    ]


def _region_rules(names: Mapping[str, str], dense: str) -> list[NameRule]:
    if "projection" not in names:
        return []
    theirs, ours = f"{names['encoder']}.embeddings", "encoder.embeddings"
    return [
        NameRule(f"{theirs}.{names['projection']}", f"{ours}.region_projection", dense),
        NameRule(f"{theirs}.{names['positions']}.weight", f"{ours}.region_positions.weight", TENSOR),
        NameRule(f"{theirs}.{names['token_types']}.weight", f"{ours}.region_token_types.weight", TENSOR),
    ]


def _head_rules(names: Mapping[str, str], dense: str) -> list[NameRule]:
    found = [
        NameRule(f"{names['encoder']}.pooler.dense", "encoder.pooler.dense", dense),
        NameRule(f"{names['pretraining']}.seq_relationship", "sentence_image", dense),
    ]
    if "classifier" in names:
        found.append(NameRule(names["classifier"], "classifier", dense))
    if "grounding" in names:
        found += [NameRule(f"{names['grounding']}.{part}", part, dense) for part in ("query", "key")]
    return found


NAMES = {"huggingface": HUGGING_FACE, "authors": AUTHORS, "mmf": MMF, "paddlenlp": PADDLENLP}
NAME_MAPS = {
    "huggingface": NameMap(rules(HUGGING_FACE), UNUSED),
    "authors": NameMap(rules(AUTHORS), UNUSED),
    "mmf": NameMap(rules(MMF), UNUSED + MMF_CLASSIFIER),
    "paddlenlp": NameMap(paddlenlp_rules(PADDLENLP, "encoder.layer.layers"), UNUSED),
    "bert": NameMap(rules(BERT), UNUSED),
    "paddlenlp_bert": NameMap(paddlenlp_rules(BERT, "encoder.layers"), UNUSED),
}
