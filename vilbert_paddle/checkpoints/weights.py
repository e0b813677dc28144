"""Tensor names of ViLBERT in the authors' code (ViLBERT 1, 12-in-1) and in the old Paddle port, and maps to ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import paddle

from pyutils.errors import InputError, nearest
from pyutils.weights import read
from pyutils.weights.bert_names import layer_rules, masked_language_rules, text_embedding_rules
from pyutils.weights.loading import LoadReport, load_arrays
from pyutils.weights.names import (
    MATRIX,
    NORM,
    TENSOR,
    Converted,
    NameMap,
    NameRule,
    in_paddle_layout,
    prefixed,
)
from pyutils.weights.paddlenlp_names import bert_as_hugging_face
from pyutils.weights.places import resolve_weights
from vilbert_paddle.config import LOCATION_SIZE

# Heads of the authors' models → ours. Classifiers have rules of their own.
LINEAR_HEADS = {
    "cls.bi_seq_relationship": "alignment",
    "vil_logit": "match",
    "vil_tri_prediction": "entailment",
    "vision_logit": "region",
    "linguisic_logit": "word",
}
CLASSIFIER_HEADS = {"vil_prediction": "vqa", "vil_prediction_gqa": "gqa", "vil_binary_prediction": "pair"}

WORD_TABLE, TIED_DECODER = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
LOCATIONS = "bert.v_embeddings.image_location_embeddings.weight"
# Dropped silently: the decoder is tied to the word table; every checkpoint has the q_dense layers but no code base uses
# them; a text-only BERT has a pooler and a next-sentence head of its own.
UNUSED = (
    rf"^{re.escape(TIED_DECODER)}$",
    r"\.biOutput\.q_dense[12]\.(weight|bias)$",
    r"^bert\.pooler\.",
    r"^cls\.seq_relationship\.",
    r"embeddings\.position_ids$",
)
# What a text-only BERT does not have.
BEYOND_TEXT = (
    r"^encoder\.(regions|connections|text_pooler|region_pooler|region_embeddings)\.",
    r"^encoder\.text_embeddings\.tasks\.",
    r"^(heads|contrast)\.",
)
OTHER_HEADS = (r"^(heads|contrast)\.",)


def encoder_rules() -> list[NameRule]:
    """Rules of the two streams, without prefix on either side."""
    gates, co_attention = "encoder.v_layer.{}.attention.self.dyLinear", "encoder.c_layer.{}"
    return [
        *text_embedding_rules("embeddings", "text_embeddings"),
        NameRule("embeddings.task_embeddings.weight", "text_embeddings.tasks.weight", TENSOR),
        NameRule("v_embeddings.image_embeddings", "region_embeddings.features"),
        NameRule("v_embeddings.image_location_embeddings", "region_embeddings.locations"),
        NameRule("v_embeddings.LayerNorm", "region_embeddings.norm", NORM),
        *layer_rules("encoder.layer.{}", "text.layers.{}"),
        *layer_rules("encoder.v_layer.{}", "regions.layers.{}"),
        NameRule(f"{gates}_q", "regions.gates.{}.query"),
        NameRule(f"{gates}_k", "regions.gates.{}.key"),
        # 1 is the visual stream, 2 the text's: words ask (query2) for what regions hold (key1, value1).
        *_co_attention_rules(co_attention, "connections.{}.text", side="t", asks=2, answers=1),
        *_co_attention_rules(co_attention, "connections.{}.regions", side="v", asks=1, answers=2),
        NameRule("t_pooler.dense", "text_pooler.dense"),
        NameRule("v_pooler.dense", "region_pooler.dense"),
    ]


def _co_attention_rules(theirs: str, ours: str, side: str, asks: int, answers: int) -> list[NameRule]:
    return [
        NameRule(f"{theirs}.biattention.query{asks}", f"{ours}.attention.attend.query"),
        NameRule(f"{theirs}.biattention.key{answers}", f"{ours}.attention.attend.key"),
        NameRule(f"{theirs}.biattention.value{answers}", f"{ours}.attention.attend.value"),
        NameRule(f"{theirs}.biOutput.dense{asks}", f"{ours}.attention.output.dense"),
        NameRule(f"{theirs}.biOutput.LayerNorm{asks}", f"{ours}.attention.output.norm", NORM),
        NameRule(f"{theirs}.{side}_intermediate.dense", f"{ours}.feed_forward.expand"),
        NameRule(f"{theirs}.{side}_output.dense", f"{ours}.feed_forward.output.dense"),
        NameRule(f"{theirs}.{side}_output.LayerNorm", f"{ours}.feed_forward.output.norm", NORM),
    ]


def head_rules() -> list[NameRule]:
    """Rules of all heads, both kinds of answer classifiers among them."""
    rules = [
        *masked_language_rules("cls.predictions", "heads.masked_words"),
        NameRule("cls.imagePredictions.transform.dense", "heads.masked_regions.transform.dense"),
        NameRule("cls.imagePredictions.transform.LayerNorm", "heads.masked_regions.transform.norm", NORM),
        NameRule("cls.imagePredictions.decoder", "heads.masked_regions.decoder"),
        *(NameRule(theirs, f"heads.{ours}") for theirs, ours in LINEAR_HEADS.items()),
    ]
    for theirs, ours in CLASSIFIER_HEADS.items():
        rules += [
            NameRule(f"{theirs}.logit_fc.0", f"heads.{ours}.transform.dense"),
            NameRule(f"{theirs}.logit_fc.2", f"heads.{ours}.transform.norm", NORM),
            NameRule(f"{theirs}.logit_fc.3", f"heads.{ours}.decoder"),
        ]
        for number, part in ((0, "expand"), (3, "decoder")):
            layer = f"{theirs}.main.{number}"
            rules += [
                NameRule(f"{layer}.weight_v", f"heads.{ours}.{part}.direction", MATRIX),
                NameRule(f"{layer}.weight_g", f"heads.{ours}.{part}.scale", TENSOR),
                NameRule(f"{layer}.bias", f"heads.{ours}.{part}.bias", TENSOR),
            ]
    return rules


RULES = [*prefixed(encoder_rules(), "bert.", "encoder."), *head_rules()]
# The old Paddle port keeps matrices [in, out] and the bias of the masked-language head in its decoder.
PORT_RULES = [rule for rule in in_paddle_layout(RULES) if rule.theirs != "cls.predictions.bias"] + [
    NameRule("cls.predictions.decoder.bias", "heads.masked_words.bias", TENSOR)
]
NAMES = ("authors", "paddle_port")
NAME_MAPS = {"authors": NameMap(RULES, UNUSED), "paddle_port": NameMap(PORT_RULES, UNUSED)}


def is_ours(names: Iterable[str]) -> bool:
    """Return True if tensors of these names are a checkpoint of this package."""
    return any(name.startswith("encoder.text_embeddings.") for name in names)


def convert_vilbert_weights(tensors: Mapping[str, np.ndarray], origin: str = "checkpoint") -> Converted:
    """Convert a checkpoint of the authors, of the old Paddle port or of a text-only BERT (of Hugging Face or paddlenlp)
    to our names.

    `module.` prefixes of data-parallel training are removed, a missing `bert.` prefix is added, and gamma and beta are
    read as weight and bias. `origin` names the file in messages.

    Raises:
        InputError: the names are of no such code base.
    """
    plain = bert_as_hugging_face({_plain(name): value for name, value in tensors.items()})
    if not any(name.startswith("bert.") for name in plain):
        plain = {f"bert.{name}" if re.match(_BARE, name) else name: value for name, value in plain.items()}
    if WORD_TABLE not in plain:
        shown = ", ".join(sorted(plain)[:3])
        raise InputError(
            f"{origin}: not a ViLBERT or BERT checkpoint: no {WORD_TABLE} among {len(plain)} tensors, e.g. {shown}"
        )
    result = NAME_MAPS[code_base(plain)].to_ours(plain)
    for name, value in result.tensors.items():
        if name.endswith(".scale"):  # PyTorch keeps the norm as a number without axes
            result.tensors[name] = value.reshape([1])
    return result


# The name under which `pyutils.weights` looks up the conversion of every model package.
convert = convert_vilbert_weights

_BARE = r"(embeddings|v_embeddings|encoder|t_pooler|v_pooler|pooler)\."


def _plain(name: str) -> str:
    name = re.sub(r"^module\.", "", name)
    return re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))


def code_base(tensors: Mapping[str, np.ndarray]) -> str:
    """Return the key of `NAME_MAPS` for original `tensors`; the projection of box coordinates shows the layout."""
    locations = tensors.get(LOCATIONS)
    return "paddle_port" if locations is not None and locations.shape[0] == LOCATION_SIZE else "authors"


def to_names(tensors: Mapping[str, np.ndarray], names: str) -> dict[str, np.ndarray]:
    """Convert our tensors to the names of a code base, one of `NAMES`, and add the tied decoder, and zeros for the
    unused q_dense layers.

    Raises:
        InputError: an unknown code base, or a tensor that has no name there.
    """
    if names not in NAMES:
        raise InputError(f"ViLBERT has no names {names!r}: {nearest(names, NAMES)}")
    theirs = _all_mapped(NAME_MAPS[names].to_theirs(tensors), names)
    if "heads.masked_words.bias" in tensors:
        theirs[TIED_DECODER] = theirs[WORD_TABLE] if names == "authors" else theirs[WORD_TABLE].T
    for name, shape in unused_shapes(tensors).items():
        theirs[name] = np.zeros(shape if names == "authors" else shape[::-1], "float32")
    if names == "authors":
        theirs.update({name: value.reshape([]) for name, value in theirs.items() if name.endswith(".weight_g")})
    return theirs


def unused_shapes(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Return name and shape (`[out, in]`) of the unused tensors in the authors' models, for our `tensors`."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in tensors.items():
        match = re.fullmatch(r"encoder\.connections\.(\d+)\.(regions|text)\.attention\.output\.dense\.weight", name)
        if match:
            layer = {"regions": "q_dense1", "text": "q_dense2"}[match.group(2)]
            theirs = f"bert.encoder.c_layer.{match.group(1)}.biOutput.{layer}"
            shapes[f"{theirs}.weight"] = (value.shape[1], value.shape[0])
            shapes[f"{theirs}.bias"] = (value.shape[1],)
    return shapes


def load_initial(model: paddle.nn.Layer, source: str, may_miss: Iterable[str] = ()) -> LoadReport:
    """Load weights into a `VilbertForTasks` or `VilbertForPretraining`; the report lists every tensor.

    `source`: a file or directory with weights of ours, of the authors, of the old Paddle port or of a text-only BERT
    (for the text stream), in any format of `pyutils.weights.read`, or a name (`resolve_weights`).
    `may_miss`: regular expressions of our names that may be missing (new heads: `^heads\\.`); heads that this model
    lacks are skipped.

    Raises:
        InputError: the weights do not fit the model.
    """
    file = resolve_weights(source)
    tensors, lacking = read_checkpoint(file)
    return load_arrays(model, tensors, str(file), [*may_miss, *lacking], OTHER_HEADS)


def read_checkpoint(file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read a weight file of ours or of any code base under our names.

    Returns the tensors, and patterns of names that may be missing (all but the text stream for a text-only BERT).

    Raises:
        InputError: another model's file, or tensors without a rule.
    """
    tensors = read(file)
    if is_ours(tensors):
        return tensors, []
    converted = _all_mapped(convert_vilbert_weights(tensors, str(file)), str(file))
    text_only = not any(name.startswith("encoder.region_embeddings.") for name in converted)
    return converted, list(BEYOND_TEXT) if text_only else []


def _all_mapped(converted: Converted, origin: str) -> dict[str, np.ndarray]:
    """Return the converted tensors. Raises InputError for names without a rule."""
    if converted.unmapped:
        raise InputError(f"{origin}: no rule for {len(converted.unmapped)} tensors, e.g. {converted.unmapped[0]}")
    return converted.tensors
