"""Initial weights of ALBEF's two encoders: a BERT, a vision transformer, or the encoders inside an ALBEF checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import paddle

from albef_paddle.checkpoints.names import layout_of, text_rules, torchmultimodal_kind
from albef_paddle.checkpoints.weights import Arrays, convert_albef_weights, for_model, is_ours, unwrap
from albef_paddle.config import AlbefConfig
from pyutils.console import say
from pyutils.errors import InputError
from pyutils.layers.vit import adapt_positions
from pyutils.weights import read, vision_names
from pyutils.weights.bert_names import masked_language_rules
from pyutils.weights.loading import LoadReport, load_arrays
from pyutils.weights.looks import looks_like
from pyutils.weights.names import NameMap
from pyutils.weights.paddlenlp_names import bert_as_hugging_face
from pyutils.weights.places import resolve_weights

_OTHER_TEXT_MODELS = re.compile(r"(^|\.)(roberta|xlm_roberta|camembert|distilbert|electra|albert|deberta|mpnet)\.")
_TIMM = "blocks.0.attn.qkv.weight"
_HUGGING_FACE = "encoder.layer.0.attention.attention.query.weight"
_TORCHVISION = "encoder.layers.encoder_layer_0.self_attention.in_proj_weight"


class Part(NamedTuple):
    """Tensors of one encoder under our names; `prefix`: of the encoder; `unmapped`: names that have no counterpart."""

    tensors: Arrays
    prefix: str
    unmapped: list[str]


def from_bert(tensors: Mapping[str, np.ndarray], config: AlbefConfig, origin: str = "checkpoint") -> Part:
    """Convert a BERT checkpoint of Hugging Face (also with `gamma`, `beta`) or paddlenlp to the text encoder, the MLM
    head, and the answer decoder, which takes BERT's first layers; of an ALBEF checkpoint, take its text encoder.

    Raises InputError for anything else; `origin` is the file's name for the message.
    """
    own = _of_albef(unwrap(tensors), config, origin, ("text.", "words."))
    if own:
        return Part(own, "text.", [])
    plain = {}
    for name, value in bert_as_hugging_face(unwrap(tensors)).items():
        name = re.sub(r"^(module\.)?(bert\.)?(?=embeddings\.|encoder\.)", "bert.", name)
        plain[name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")] = value
    other = next((found.group(2) for found in map(_OTHER_TEXT_MODELS.search, plain) if found), None)
    if other or "bert.embeddings.word_embeddings.weight" not in plain:
        found = f"a {other}, which has other positions and another vocabulary" if other else _looks(tensors)
        raise InputError(f"{origin}: init_text expects a BERT or an ALBEF checkpoint, found {found}")
    layout, result, unmapped = layout_of(config), Arrays(), set(plain)
    for prefix, layers in (("", (layout.text, layout.fusion)), ("decoder.", (0, config.decoder_layers))):
        rules = text_rules("bert", f"{prefix}text", *layers)
        rules += masked_language_rules("cls.predictions", f"{prefix}words")
        converted = NameMap(rules).to_ours(plain)
        result.update(converted.tensors)
        unmapped &= set(converted.unmapped)
    return Part(result, "text.", sorted(unmapped))


def from_vit(tensors: Mapping[str, np.ndarray], origin: str = "checkpoint") -> Part:
    """Convert a ViT checkpoint with the names of timm (also DeiT's files, below any prefix), Hugging Face or
    torchvision to the vision encoder; of an ALBEF checkpoint, take its vision encoder.

    Raises InputError for anything else; `origin` is the file's name for the message.
    """
    plain = unwrap(tensors)
    if is_ours(plain):
        return Part({name: plain[name] for name in plain if name.startswith("vision.")}, "vision.", [])
    for mark, change, rules in (
        (_TIMM, dict, vision_names.timm_rules),
        (_HUGGING_FACE, vision_names.timm_of_hugging_face, vision_names.timm_rules),
        (_TORCHVISION, dict, vision_names.torchvision_rules),
    ):
        prefix = min((name[: -len(mark)] for name in plain if name.endswith(mark)), key=len, default=None)
        if prefix is None:
            continue
        below = {name[len(prefix) :]: value for name, value in plain.items() if name.startswith(prefix)}
        if "dist_token" in below or "embeddings.distillation_token" in below:
            raise InputError(f"{origin}: a distilled DeiT, with a second class token; init_vision takes one without")
        converted = NameMap(rules("", "vision."), vision_names.HEADS).to_ours(change(below))
        return Part(converted.tensors, "vision.", converted.unmapped)
    raise InputError(f"{origin}: init_vision expects a ViT, DeiT or ALBEF checkpoint, found {_looks(tensors)}")


def load_part(model: paddle.nn.Layer, part: Part, origin: str) -> LoadReport:
    """Load the output of `from_bert` or `from_vit` into the parts of `model` that it covers, and into the teacher.

    Strict but for cross-attention, which no BERT has, and everything outside the encoder. Parts that `model` lacks are
    ignored. Raises InputError for tensors of the encoder that are missing or of another shape.
    """
    names = model.state_dict()
    tensors = for_model(part.tensors, names)
    wanted = {name: value for name, value in tensors.items() if name in names}
    outside = rf"^(?!{re.escape(part.prefix)})"
    report = load_arrays(model, wanted, origin, (outside, r"cross_attention"), adapt=adapt_positions)
    report.ignored += part.unmapped
    if hasattr(model, "teacher"):
        model.teacher.copy_from(model)
    return report


def start_parts(model: paddle.nn.Layer, config: Any) -> None:
    """Initialise the encoders of a model with `config.init_text`, a BERT, and `config.init_vision`, a ViT."""
    if config.init_text:
        file = resolve_weights(config.init_text)
        say(str(load_part(model, from_bert(read(file), config.model, str(file)), str(file))))
    if config.init_vision:
        file = resolve_weights(config.init_vision)
        say(str(load_part(model, from_vit(read(file), str(file)), str(file))))


def _of_albef(tensors: Mapping[str, np.ndarray], config: AlbefConfig, origin: str, prefixes: tuple[str, ...]) -> Arrays:
    """The tensors below `prefixes` of an ALBEF checkpoint of any code base; {} for other files."""
    plain = {re.sub(r"^module\.", "", name): value for name, value in tensors.items()}
    if not is_ours(plain):
        if "visual_encoder.cls_token" not in plain and torchmultimodal_kind(plain) is None:
            return {}
        plain = convert_albef_weights(plain, config, origin).tensors
    return {name: value for name, value in plain.items() if name.startswith(prefixes)}


def _looks(tensors: Mapping[str, np.ndarray]) -> str:
    plain = unwrap(tensors)
    shown = ", ".join(sorted(plain)[:3])
    return f"{looks_like({name: np.shape(value) for name, value in plain.items()})} ({shown}, …)"
