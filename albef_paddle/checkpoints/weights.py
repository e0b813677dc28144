"""ALBEF's weights in and out: checkpoints of every code base under our names and back, and how one task's weights start
another's model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from albef_paddle.checkpoints.names import (
    NAMES,
    SIDES,
    TORCHMULTIMODAL_MAPS,
    Layout,
    authors_map,
    layer_numbers,
    layout_of,
    layout_of_ours,
    layout_of_theirs,
    text_rules,
    torchmultimodal_kind,
)
from albef_paddle.config import AlbefConfig
from pyutils.console import say
from pyutils.errors import InputError, nearest
from pyutils.layers.vit import adapt_positions
from pyutils.weights import read, vision_names
from pyutils.weights.bert_names import masked_language_rules
from pyutils.weights.loading import LoadReport, load_arrays
from pyutils.weights.names import Converted, NameMap
from pyutils.weights.paddlenlp_names import bert_as_hugging_face
from pyutils.weights.places import resolve_weights

Arrays = dict[str, np.ndarray]

# Parts of one task that the model of another lacks.
OTHER_PARTS = (
    r"^(teacher\.)?(words|decoder|classifier|matching|assignment|vision_projection|text_projection)\.",
    r"^(teacher|queue)\.",
    r"^temperature$",
)
CREATED_PARTS = (r"^(teacher|queue)\.",)
"""What a checkpoint need not hold: the teacher starts as a copy of the model, the queue from random features."""
NEW_HEADS = (r"^(classifier|assignment)\.",)
"""Heads that a task starts from random values when its weights come from pre-training."""
TOKEN_TYPES = 2


def convert(
    tensors: Mapping[str, np.ndarray], config: AlbefConfig | None = None, origin: str = "checkpoint"
) -> Converted:
    """Tensors of a checkpoint of the authors, of LAVIS or of TorchMultimodal, of any task, under our names.

    `module.` prefixes and a `{"model": …}` around the tensors are removed. Without `config` the numbers of layers are
    those of the tensors. LAVIS has no token types: they are zeros here. InputError when it is no ALBEF checkpoint, or
    one whose answer decoder has an output matrix of its own; `origin` names the file in the message.
    """
    plain = {_plain_name(name): value for name, value in unwrap(tensors).items()}
    kind = torchmultimodal_kind(plain)
    if kind is not None:
        return _from_torchmultimodal(plain, kind, origin)
    if "visual_encoder.cls_token" not in plain:
        shown = ", ".join(sorted(plain)[:3])
        raise InputError(
            f"{origin}: not an ALBEF checkpoint: expected visual_encoder.cls_token and text_encoder.…, found "
            f"{len(plain)} tensors, e.g. {shown}"
        )
    if config is None:
        layout = layout_of_theirs(plain)
    else:
        layers = layer_numbers(plain, r"^text_encoder\.encoder\.layer\.(\d+)\.")
        layout = layout_of(config, 2 if len(layers) > config.text.num_layers else 1)
    converted = authors_map(layout).to_ours(plain)
    if not any("token_type_embeddings" in name for name in plain):
        converted.tensors.update(_no_token_types(converted.tensors))
    return converted


def _from_torchmultimodal(plain: Mapping[str, np.ndarray], kind: str, origin: str) -> Converted:
    for suffix, _ in SIDES:
        table = plain.get(f"answer_decoder{suffix}.text_embeddings.word_embeddings.weight")
        output = plain.get(f"answer_decoder{suffix}.prediction_head.decoder.weight")
        if table is not None and output is not None and not np.array_equal(table, output):
            raise InputError(
                f"{origin}: answer_decoder{suffix}.prediction_head.decoder.weight differs from the word embeddings: it "
                "was trained apart from them, while ALBEF ties the two; such a decoder cannot be loaded"
            )
    return TORCHMULTIMODAL_MAPS[kind].to_ours(plain)


def _no_token_types(tensors: Mapping[str, np.ndarray]) -> Arrays:
    """Zeros for the token types of every text encoder in `tensors`."""
    end, found = "embeddings.words.table.weight", {}
    for name, table in tensors.items():
        if name.endswith(end):
            types = np.zeros((TOKEN_TYPES, *table.shape[1:]), table.dtype)
            found[f"{name[: -len(end)]}embeddings.token_types.weight"] = types
    return found


def to_names(tensors: Mapping[str, np.ndarray], names: str, config: AlbefConfig | None = None) -> Arrays:
    """Our tensors under the names of a code base, one of `NAMES`, with everything it stores twice.

    LAVIS has no token types: what ALBEF adds to every word, the first of them, is added to its positions. InputError
    for an unknown code base, and for tensors that it has no place for.
    """
    if names not in NAMES:
        raise InputError(f"ALBEF has no names {names!r}: {nearest(names, NAMES)}")
    if names == "torchmultimodal":
        return _to_torchmultimodal(tensors)
    theirs = to_original(tensors, config)
    return _without_token_types(theirs) if names == "lavis" else theirs


def to_original(tensors: Mapping[str, np.ndarray], config: AlbefConfig | None = None) -> Arrays:
    """`to_names` for the authors' names; with `config`, `tensors` may be some of a model's only."""
    if config is None:
        layout = layout_of_ours(tensors)
    else:
        layout = layout_of(config)
        if len(layer_numbers(tensors, r"^(?:teacher\.)?text\.fusion_layers\.layers\.(\d+)\.")) > layout.fusion:
            layout = layout_of(config, images=2)
    converted = authors_map(layout).to_theirs(tensors)
    if converted.unmapped:
        raise InputError(
            f"no tensor of ALBEF: {', '.join(converted.unmapped[:5])}; give the state of one of its models"
        )
    result = converted.tensors
    if "words.bias" in tensors:
        result = {
            re.sub(r"^(text_encoder(?:_m)?)\.(embeddings|encoder)\.", r"\1.bert.\2.", n): v for n, v in result.items()
        }
    return {**result, **_stored_twice(result, layout)}


def _without_token_types(theirs: Arrays) -> Arrays:
    result = dict(theirs)
    for name in theirs:
        if name.endswith("token_type_embeddings.weight"):
            first, positions = result.pop(name)[0], name.replace("token_type_embeddings", "position_embeddings")
            if first.any():
                result[positions] = result[positions] + first
    return result


def _to_torchmultimodal(tensors: Mapping[str, np.ndarray]) -> Arrays:
    kind = "vqa" if any(name.startswith("decoder.") for name in tensors) else "retrieval"
    converted = TORCHMULTIMODAL_MAPS[kind].to_theirs(tensors)
    if converted.unmapped:
        raise InputError(
            f"TorchMultimodal has ALBEF for question answering and retrieval only, and no place for "
            f"{len(converted.unmapped)} tensors, e.g. {converted.unmapped[0]}"
        )
    result = converted.tensors
    for suffix, _ in SIDES:
        table = f"answer_decoder{suffix}.text_embeddings.word_embeddings.weight"
        if table in result:
            result[f"answer_decoder{suffix}.prediction_head.decoder.weight"] = result[table]
    return result


def unwrap(tensors: Mapping) -> Mapping[str, np.ndarray]:
    """What is inside `{"model": …}` or `{"state_dict": …}`; otherwise the tensors as they are."""
    for key in ("model", "state_dict"):
        if isinstance(tensors.get(key), Mapping):
            return tensors[key]
    return tensors


def for_model(tensors: Mapping[str, np.ndarray], names: Iterable[str]) -> Arrays:
    """Tensors of a task as those of a model with the tensor `names` (ours on both sides) wants them.

    Where the model has an answer decoder and the tensors have none, it starts from the fusion layers and the language
    head; where it reads two images and they are of one, both layers of a pair start from the one there is.
    """
    result, names = dict(tensors), list(names)
    for _, own in SIDES:
        if _any(names, f"{own}decoder.") and not _any(result, f"{own}decoder."):
            for name, value in tensors.items():
                target = re.sub(rf"^{own}(text\.embeddings|text\.fusion_layers|words)\.", rf"{own}decoder.\1.", name)
                if target != name:
                    result[target] = value
        layer = rf"^{own}text\.fusion_layers\.layers\.(\d+)\."
        found, wanted = len(layer_numbers(tensors, layer)), len(layer_numbers(names, layer))
        if found and wanted == 2 * found:
            result = _in_pairs(result, f"{own}text.fusion_layers.layers.", set(names))
    return result


def from_bert(tensors: Mapping[str, np.ndarray], config: AlbefConfig) -> Arrays:
    """Tensors of a BERT checkpoint with the names of Hugging Face (`gamma` and `beta` of old files too) or paddlenlp as
    text encoder, language head and answer decoder; the last starts from BERT's first layers."""
    plain = {}
    for name, value in bert_as_hugging_face(unwrap(tensors)).items():
        name = re.sub(r"^(module\.)?(bert\.)?(?=embeddings\.|encoder\.)", "bert.", name)
        plain[name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")] = value
    layout = layout_of(config)
    encoder = NameMap(
        [*text_rules("bert", "text", layout.text, layout.fusion), *masked_language_rules("cls.predictions", "words")]
    )
    decoder = NameMap(
        [
            *text_rules("bert", "decoder.text", 0, config.decoder_layers),
            *masked_language_rules("cls.predictions", "decoder.words"),
        ]
    )
    return {**encoder.to_ours(plain).tensors, **decoder.to_ours(plain).tensors}


def from_vit(tensors: Mapping[str, np.ndarray]) -> Arrays:
    """Tensors of a ViT checkpoint with timm's names (DeiT's own files too) as the vision encoder."""
    return NameMap(vision_names.timm_rules("", "vision."), vision_names.HEADS).to_ours(unwrap(tensors)).tensors


def load_initial(
    model: paddle.nn.Layer, source: str, config: AlbefConfig, may_miss: Iterable[str] = NEW_HEADS
) -> LoadReport:
    """Put the weights that `source` names, of this task or another, into `model`; returns what happened to each.

    `source`: a file or folder with weights of ours, of the authors, of LAVIS or of TorchMultimodal, in any format that
    `pyutils.weights.read` knows, or a name (`resolve_weights`). Position embeddings of another resolution
    are interpolated; a teacher that the file lacks starts as a copy of the model, a queue it lacks, or has in another
    size, from random features. `may_miss`: further names that it need not hold, or may hold in another shape (the head
    of another task); () when the model is to predict.
    InputError when it does not fit.
    """
    file = resolve_weights(source)
    return load_tensors(model, read_checkpoint(file, config), str(file), may_miss)


def is_ours(names: Iterable[str]) -> bool:
    """Whether tensors of these names are a checkpoint of this package."""
    return "vision.class_token" in names


def read_checkpoint(file: Path, config: AlbefConfig | None = None) -> Arrays:
    """Tensors of a weight file of ours or of any code base under our names. InputError when it is neither, or holds
    what has no name here. `config` as in `convert`."""
    tensors = read(file)
    if is_ours(tensors):
        return tensors
    converted = convert(tensors, config, str(file))
    if converted.unmapped:
        raise InputError(f"{file}: no rule for {len(converted.unmapped)} tensors, e.g. {converted.unmapped[0]}")
    return converted.tensors


def load_tensors(
    model: paddle.nn.Layer, tensors: Mapping[str, np.ndarray], origin: str, may_miss: Iterable[str] = NEW_HEADS
) -> LoadReport:
    """`load_initial` for tensors under our names; `origin` names their file in messages."""
    state = model.state_dict()
    if layout_of_ours(tensors).images > layout_of_ours(state).images:
        raise InputError(
            f"{origin}: this is a network of NLVR2, which reads two images with a text, and this model reads one. Name "
            "a checkpoint of this task, or the pre-trained one that NLVR2 was started from"
        )
    tensors = for_model(tensors, state)
    if "queue.images" in state and tensors.get("queue.images", np.empty(0)).shape != tuple(state["queue.images"].shape):
        tensors = {name: value for name, value in tensors.items() if not name.startswith("queue.")}
    heads = (*may_miss, *_teacher_of(may_miss))
    tensors = {name: value for name, value in tensors.items() if not _of_another_head(name, value, state, heads)}
    report = load_arrays(model, tensors, origin, (*CREATED_PARTS, *heads), OTHER_PARTS, adapt_positions)
    with paddle.no_grad():
        for name in report.allowed_missing:
            if name.startswith("teacher."):
                paddle.assign(state[name[len("teacher.") :]], output=state[name])
    return report


def _of_another_head(name: str, value: np.ndarray, state: Mapping[str, paddle.Tensor], heads: Iterable[str]) -> bool:
    """Whether it belongs to a head that may be new and has another shape here: three classes there, two here."""
    other = name in state and value.shape != tuple(state[name].shape)
    return other and any(re.search(pattern, name) for pattern in heads)


def load_parts(model: paddle.nn.Layer, tensors: Mapping[str, np.ndarray], origin: str) -> LoadReport:
    """Put the output of `from_bert` or `from_vit` into the parts of `model` that it covers, and into the teacher's.

    What a part has and the file lacks (cross-attention) keeps its initial values; parts that `model` lacks are passed
    over.
    """
    names = model.state_dict()
    tensors = for_model(tensors, names)
    wanted = {name: value for name, value in tensors.items() if name in names}
    report = load_arrays(model, wanted, origin, may_miss=[""], adapt=adapt_positions)
    if hasattr(model, "teacher"):
        model.teacher.copy_from(model)
    return report


def _plain_name(name: str) -> str:
    name = re.sub(r"^module\.", "", name)
    return re.sub(r"^(text_encoder(?:_m)?)\.bert\.", r"\1.", name)


def _any(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _stored_twice(tensors: Mapping[str, np.ndarray], layout: Layout) -> Arrays:
    """The tied and shared tensors under their second names, and the position ids."""
    again: Arrays = {}
    for name, value in tensors.items():
        match = re.match(r"^(text_(?:encoder|decoder)(?:_m)?)\.cls\.predictions\.bias$", name)
        if match:
            table = tensors[f"{match.group(1)}.bert.embeddings.word_embeddings.weight"]
            again[f"{match.group(1)}.cls.predictions.decoder.bias"] = value
            again[f"{match.group(1)}.cls.predictions.decoder.weight"] = table
        if name.endswith("embeddings.position_embeddings.weight"):
            ids = name.replace("position_embeddings.weight", "position_ids")
            again[ids] = np.arange(value.shape[0], dtype=np.int64)[None]
        match = re.match(
            r"^(text_encoder(?:_m)?\.encoder\.layer\.)(\d+)(\.crossattention\.self\.(?:key|value)\..+)$", name
        )
        if match and layout.images == 2:
            again[f"{match.group(1)}{int(match.group(2)) + 1}{match.group(3)}"] = value
    return again


def _in_pairs(tensors: Mapping[str, np.ndarray], prefix: str, wanted: set[str]) -> Arrays:
    """Layer n below `prefix` as layers 2n and 2n + 1, as far as the model wants them."""
    result: Arrays = {}
    for name, value in tensors.items():
        if not name.startswith(prefix):
            result[name] = value
            continue
        number, _, rest = name[len(prefix) :].partition(".")
        for twin in (2 * int(number), 2 * int(number) + 1):
            if f"{prefix}{twin}.{rest}" in wanted:
                result[f"{prefix}{twin}.{rest}"] = value
    return result


def _teacher_of(patterns: Iterable[str]) -> list[str]:
    return [pattern.replace("^", r"^teacher\.", 1) for pattern in patterns]


def start_parts(model: paddle.nn.Layer, config: Any) -> None:
    """Start the encoders of a new model from `config.init_text`, a BERT, and `config.init_vision`, a ViT."""
    if config.init_text:
        file = resolve_weights(config.init_text)
        say(str(load_parts(model, from_bert(read(file), config.model), str(file))))
    if config.init_vision:
        file = resolve_weights(config.init_vision)
        say(str(load_parts(model, from_vit(read(file)), str(file))))
