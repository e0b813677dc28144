"""ALBEF's tensor names in other code bases, and the maps to ours.

authors          salesforce/ALBEF: `visual_encoder.…`, `text_encoder.…` (`text_encoder.bert.…` after pre-training)
lavis            LAVIS: the authors' names without token types
torchmultimodal  TorchMultimodal's example: `model.…` (VQA), `model_with_similarity.…` (retrieval)
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from albef_paddle.config import AlbefConfig
from pyutils.weights import vision_names
from pyutils.weights.bert_names import layer_rules, masked_language_rules, text_embedding_rules
from pyutils.weights.names import NORM, TENSOR, NameMap, NameRule

NAMES = ("authors", "lavis", "torchmultimodal")
SIDES = (("", ""), ("_m", "teacher."))
"""Suffix of the original's module names, and our prefix: of the model, and of its momentum teacher."""

# Dropped: a table 0, 1, 2, …, and the MLM decoder, which is tied to the word embeddings and to the head's bias.
UNUSED = (r"embeddings\.position_ids$", r"cls\.predictions\.decoder\.(weight|bias)$")
_STATE = {
    "temp": "temperature",
    "image_queue": "queue.images",
    "text_queue": "queue.texts",
    "idx_queue": "queue.identities",
    "queue_ptr": "queue.pointer",
}


class Layout(NamedTuple):
    """Numbers of text layers, of layers with cross-attention (all, also in pairs), and of answer decoder layers;
    `images`: images per text (2: NLVR2)."""

    text: int
    fusion: int
    decoder: int
    images: int


def layout_of(config: AlbefConfig, images: int = 1) -> Layout:
    """Return the layout of a model of ours."""
    text = config.text
    return Layout(text.fusion_layer, (text.num_layers - text.fusion_layer) * images, config.decoder_layers, images)


def layout_of_theirs(tensors: Mapping[str, np.ndarray]) -> Layout:
    """Infer the layout from the authors' names (without `.bert.` in the encoder). The layers of a pair have equal
    keys."""
    layer = r"^text_encoder\.encoder\.layer\.(\d+)\."
    layers, crossed = layer_numbers(tensors, layer), layer_numbers(tensors, rf"{layer}crossattention\.")
    first = min(crossed, default=len(layers))
    names = (f"text_encoder.encoder.layer.{first + n}.crossattention.self.key.weight" for n in (0, 1))
    keys = [tensors[name] for name in names if name in tensors]
    shared = len(keys) == 2 and np.array_equal(keys[0], keys[1])
    decoder = layer_numbers(tensors, r"^text_decoder\.bert\.encoder\.layer\.(\d+)\.")
    return Layout(first, len(layers) - first, len(decoder), 2 if shared else 1)


def layout_of_ours(tensors: Collection[str]) -> Layout:
    """Infer the layout from our names. The second layer of a pair has no keys of its own."""
    text, fusion, decoder = (
        len(layer_numbers(tensors, rf"^{part}\.layers\.(\d+)\."))
        for part in (r"text\.text_layers", r"text\.fusion_layers", r"decoder\.text\.fusion_layers")
    )
    paired = fusion > 1 and "text.fusion_layers.layers.1.cross_attention.attend.key.weight" not in tensors
    return Layout(text, fusion, decoder, 2 if paired else 1)


def authors_rules(layout: Layout) -> list[NameRule]:
    """Make the rules for ALBEF with any head, in the names of its authors and of LAVIS.

    `.bert.` must have been removed from the text encoder's names of pre-training checkpoints.
    """
    found = [NameRule("itm_head", "matching"), NameRule("ta_head", "assignment")]
    found += [NameRule(theirs, ours, TENSOR) for theirs, ours in _STATE.items()]
    for suffix, own in SIDES:
        decoder = f"text_decoder{suffix}"
        found += vision_names.timm_rules(f"visual_encoder{suffix}.", f"{own}vision.")
        found += text_rules(f"text_encoder{suffix}", f"{own}text", layout.text, layout.fusion)
        found += masked_language_rules(f"text_encoder{suffix}.cls.predictions", f"{own}words")
        found += text_rules(f"{decoder}.bert", f"{own}decoder.text", 0, layout.decoder)
        found += masked_language_rules(f"{decoder}.cls.predictions", f"{own}decoder.words")
        found += [NameRule(f"{kind}_proj{suffix}", f"{own}{kind}_projection") for kind in ("vision", "text")]
        found += [NameRule(f"cls_head{suffix}.{place}", f"{own}classifier.{place}") for place in (0, 2)]
    return found


def text_rules(theirs: str, ours: str, text_layers: int, fusion_layers: int) -> list[NameRule]:
    """Make the rules of a text encoder: the original numbers all layers, ours restart at 0 with the fusion layers."""
    found = text_embedding_rules(f"{theirs}.embeddings", f"{ours}.embeddings")
    for number in range(text_layers + fusion_layers):
        place = (
            f"text_layers.layers.{number}" if number < text_layers else f"fusion_layers.layers.{number - text_layers}"
        )
        found += layer_rules(f"{theirs}.encoder.layer.{number}", f"{ours}.{place}")
    return found


@cache
def authors_map(layout: Layout) -> NameMap:
    """Build the map for the names of the authors and of LAVIS."""
    return NameMap(authors_rules(layout), UNUSED + _repeated(layout))


def _repeated(layout: Layout) -> tuple[str, ...]:
    """Patterns of the keys and values that are stored again in the second layer of a pair."""
    if layout.images == 1:
        return ()
    seconds = "|".join(str(layout.text + place) for place in range(1, layout.fusion, 2))
    return (rf"^text_encoder(_m)?\.encoder\.layer\.({seconds})\.crossattention\.self\.(key|value)\.",)


# TorchMultimodal: prefix of the network, and of the parts that only its retrieval model has.
TORCHMULTIMODAL_ROOTS = {"vqa": "model.", "retrieval": "model_with_similarity.albef_model."}
_SIMILARITY = "model_with_similarity."


def _torchmultimodal_rules(root: str) -> list[NameRule]:
    found = [NameRule("itm_head", "matching")]
    found += [NameRule(_SIMILARITY + theirs, ours, TENSOR) for theirs, ours in _STATE.items()]
    for suffix, own in SIDES:
        text, fusion = f"{root}text_encoder{suffix}", f"{root}multimodal_encoder{suffix}"
        answers, head = f"answer_decoder{suffix}", f"answer_decoder{suffix}.prediction_head"
        found += vision_names.torchvision_rules(f"{root}vision_encoder{suffix}.encoder.", f"{own}vision.")
        found += _embedding_rules(f"{text}.embeddings", f"{own}text.embeddings")
        found += _layer_rules(f"{text}.encoder.layer.{{}}", f"{own}text.text_layers.layers.{{}}", (3, 2))
        found += _layer_rules(f"{fusion}.layer.{{}}", f"{own}text.fusion_layers.layers.{{}}", (2, 3))
        found += _embedding_rules(f"{answers}.text_embeddings", f"{own}decoder.text.embeddings")
        found += _layer_rules(
            f"{answers}.multimodal_encoder.layer.{{}}", f"{own}decoder.text.fusion_layers.layers.{{}}", (2, 3)
        )
        found += [
            NameRule(f"{head}.dense", f"{own}decoder.words.transform.dense"),
            NameRule(f"{head}.layer_norm", f"{own}decoder.words.transform.norm", NORM),
            NameRule(f"{head}.decoder.bias", f"{own}decoder.words.bias", TENSOR),
        ]
        found += [
            NameRule(f"{_SIMILARITY}{kind}_proj{suffix}", f"{own}{kind}_projection") for kind in ("vision", "text")
        ]
    return found


def _embedding_rules(theirs: str, ours: str) -> list[NameRule]:
    rules = text_embedding_rules(theirs, ours)
    return [*rules[:-1], NameRule(f"{theirs}.layer_norm", f"{ours}.norm", NORM)]


def _layer_rules(theirs: str, ours: str, contract: tuple[int, int]) -> list[NameRule]:
    """`contract`: possible indices of the second linear layer in the feed-forward module: a dropout layer may precede
    it; the first one is used for writing."""
    found = []
    for kind in ("attention", "cross_attention"):
        found += [
            NameRule(f"{theirs}.{kind}.{part}", f"{ours}.{kind}.attend.{part}") for part in ("query", "key", "value")
        ]
        found += [
            NameRule(f"{theirs}.{kind}.output", f"{ours}.{kind}.output.dense"),
            NameRule(f"{theirs}.{kind}_layernorm", f"{ours}.{kind}.output.norm", NORM),
        ]
    found.append(NameRule(f"{theirs}.feedforward.model.0", f"{ours}.feed_forward.expand"))
    found += [
        NameRule(f"{theirs}.feedforward.model.{place}", f"{ours}.feed_forward.output.dense") for place in contract
    ]
    return [*found, NameRule(f"{theirs}.feedforward_layernorm", f"{ours}.feed_forward.output.norm", NORM)]


_TIED = (r"^answer_decoder(_m)?\.prediction_head\.decoder\.weight$",)
TORCHMULTIMODAL_MAPS = {
    kind: NameMap(_torchmultimodal_rules(root), _TIED) for kind, root in TORCHMULTIMODAL_ROOTS.items()
}


def torchmultimodal_kind(names: Iterable[str]) -> str | None:
    """Return the key of `TORCHMULTIMODAL_MAPS` for names of TorchMultimodal; None for others."""
    names = set(names)
    marks = {kind: f"{root}vision_encoder.encoder.class_token" for kind, root in TORCHMULTIMODAL_ROOTS.items()}
    return next((kind for kind, mark in marks.items() if mark in names), None)


def layer_numbers(names: Iterable[str], pattern: str) -> set[int]:
    """Collect the layer numbers that `pattern` matches."""
    return {int(match.group(1)) for match in map(re.compile(pattern).match, names) if match}
