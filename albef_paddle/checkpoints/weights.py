"""Conversion of ALBEF's checkpoints between code bases, and initialising one task's model with another's weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

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
    torchmultimodal_kind,
)
from albef_paddle.config import AlbefConfig
from pyutils.errors import InputError, nearest
from pyutils.layers.vit import adapt_positions
from pyutils.weights import read
from pyutils.weights.loading import LoadReport, load_arrays
from pyutils.weights.names import Converted
from pyutils.weights.places import resolve_weights

Arrays = dict[str, np.ndarray]

# Parts of a checkpoint that the model of another task lacks.
OTHER_PARTS = (
    r"^(teacher\.)?(words|decoder|classifier|matching|assignment|vision_projection|text_projection)\.",
    r"^(teacher|queue)\.",
    r"^temperature$",
)
CREATED_PARTS = (r"^(teacher|queue)\.",)
"""Parts that a checkpoint may lack: the teacher starts as a copy of the model, the queue from random features."""
NEW_HEADS = (r"^(classifier|assignment)\.",)
"""Heads that are initialised randomly when the weights come from pre-training."""
TOKEN_TYPES = 2


def convert_albef_weights(
    tensors: Mapping[str, np.ndarray], config: AlbefConfig | None = None, origin: str = "checkpoint"
) -> Converted:
    """Convert a checkpoint of the authors, of LAVIS or of TorchMultimodal, of any task, to our names.

    `module.` prefixes and a `{"model": …}` around the tensors are removed. Without `config` the numbers of layers are
    inferred from the tensors. LAVIS has no token types: they become zeros.

    Raises:
        InputError: not an ALBEF checkpoint, or an answer decoder that is not tied to its word embeddings; `origin` is
            the file's name for the message.
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


convert = convert_albef_weights  # the name that `pyutils.weights` calls in every model package


def _from_torchmultimodal(plain: Mapping[str, np.ndarray], kind: str, origin: str) -> Converted:
    for suffix, _ in SIDES:
        table = plain.get(f"answer_decoder{suffix}.text_embeddings.word_embeddings.weight")
        output = plain.get(f"answer_decoder{suffix}.prediction_head.decoder.weight")
        if table is not None and output is not None and not np.array_equal(table, output):
            raise InputError(
                f"{origin}: answer_decoder{suffix}.prediction_head.decoder.weight differs from the word embeddings; "
                "only decoders with tied weights can be loaded"
            )
    return TORCHMULTIMODAL_MAPS[kind].to_ours(plain)


def _no_token_types(tensors: Mapping[str, np.ndarray]) -> Arrays:
    """Make zero token types for every text encoder in `tensors`."""
    end, found = "embeddings.words.table.weight", {}
    for name, table in tensors.items():
        if name.endswith(end):
            types = np.zeros((TOKEN_TYPES, *table.shape[1:]), table.dtype)
            found[f"{name[: -len(end)]}embeddings.token_types.weight"] = types
    return found


def to_names(tensors: Mapping[str, np.ndarray], names: str) -> Arrays:
    """Convert our tensors to the names of a code base, one of `NAMES`, with everything it stores twice.

    LAVIS has no token types: the first one, which ALBEF adds to every word, is added to the position embeddings.
    Raises InputError for an unknown code base, or tensors without a counterpart in it.
    """
    if names not in NAMES:
        raise InputError(f"ALBEF has no names {names!r}: {nearest(names, NAMES)}")
    if names == "torchmultimodal":
        return _to_torchmultimodal(tensors)
    theirs = to_original(tensors)
    return _without_token_types(theirs) if names == "lavis" else theirs


def to_original(tensors: Mapping[str, np.ndarray], config: AlbefConfig | None = None) -> Arrays:
    """Convert to the authors' names; with `config`, `tensors` may be a part of a model's."""
    if config is None:
        layout = layout_of_ours(tensors)
    else:
        layout = layout_of(config)
        if len(layer_numbers(tensors, r"^(?:teacher\.)?text\.fusion_layers\.layers\.(\d+)\.")) > layout.fusion:
            layout = layout_of(config, images=2)
    result = _complete(authors_map(layout).to_theirs(tensors), "the authors' code")
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
    target = "TorchMultimodal, which has ALBEF only for VQA and retrieval"
    result = _complete(TORCHMULTIMODAL_MAPS[kind].to_theirs(tensors), target)
    for suffix, _ in SIDES:
        table = f"answer_decoder{suffix}.text_embeddings.word_embeddings.weight"
        if table in result:
            result[f"answer_decoder{suffix}.prediction_head.decoder.weight"] = result[table]
    return result


def _complete(converted: Converted, where: str) -> Arrays:
    """Return the converted tensors. Raises InputError if some have no name in the other code base."""
    if converted.unmapped:
        raise InputError(f"{where}: no name for {len(converted.unmapped)} tensors, e.g. {converted.unmapped[0]}")
    return converted.tensors


def unwrap(tensors: Mapping) -> Mapping[str, np.ndarray]:
    """Return the content of `{"model": …}` or `{"state_dict": …}`, or the tensors themselves."""
    for key in ("model", "state_dict"):
        if isinstance(tensors.get(key), Mapping):
            return tensors[key]
    return tensors


def for_model(tensors: Mapping[str, np.ndarray], names: Iterable[str]) -> Arrays:
    """Adapt the tensors of one task to a model of another task, with the tensor `names` (our names in both).

    An answer decoder that the tensors lack starts from the fusion layers and the MLM head; for a model of two images,
    both layers of a pair start from the one of a model of one image.
    """
    result, names = dict(tensors), list(names)
    for _, own in SIDES:
        if _has(names, f"{own}decoder.") and not _has(result, f"{own}decoder."):
            for name, value in tensors.items():
                target = re.sub(rf"^{own}(text\.embeddings|text\.fusion_layers|words)\.", rf"{own}decoder.\1.", name)
                if target != name:
                    result[target] = value
        layer = rf"^{own}text\.fusion_layers\.layers\.(\d+)\."
        found, wanted = len(layer_numbers(tensors, layer)), len(layer_numbers(names, layer))
        if found and wanted == 2 * found:
            result = _in_pairs(result, f"{own}text.fusion_layers.layers.", set(names))
    return result


def load_initial(
    model: paddle.nn.Layer, source: str, config: AlbefConfig, may_miss: Iterable[str] = NEW_HEADS
) -> LoadReport:
    """Load the weights `source`, of this task or another, into `model`; returns what happened to each tensor.

    `source`: a file or directory with weights of ours, of the authors, of LAVIS or of TorchMultimodal, in any format
    that `pyutils.weights.read` supports, or a name (`resolve_weights`). Position embeddings of another resolution are
    interpolated; a missing teacher starts as a copy of the model, a queue that is missing or of another size from
    random features. `may_miss`: further names that it may lack, or have in another shape (the head of another task);
    () for a model to predict with.
    Raises InputError for weights that do not fit.
    """
    file = resolve_weights(source)
    return load_tensors(model, read_checkpoint(file, config), str(file), may_miss)


def is_ours(names: Iterable[str]) -> bool:
    """Return True if tensors of these names are a checkpoint of this package."""
    return "vision.class_token" in names


def read_checkpoint(file: Path, config: AlbefConfig | None = None) -> Arrays:
    """Read a weight file of ours or of any code base under our names; `config` as in `convert_albef_weights`.

    Raises InputError for another model's file, or tensors without a counterpart here.
    """
    tensors = read(file)
    if is_ours(tensors):
        return tensors
    return _complete(convert_albef_weights(tensors, config, str(file)), str(file))


def load_tensors(
    model: paddle.nn.Layer, tensors: Mapping[str, np.ndarray], origin: str, may_miss: Iterable[str] = NEW_HEADS
) -> LoadReport:
    """Do `load_initial` for tensors under our names; `origin` is their file's name for messages."""
    state = model.state_dict()
    if layout_of_ours(tensors).images > layout_of_ours(state).images:
        raise InputError(
            f"{origin}: a checkpoint of NLVR2 with two images per text, but this model has one. Use a checkpoint of "
            "this task, or the pre-trained checkpoint that NLVR2 was started from"
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
    """Return True for a tensor of a head that may be new and has another shape in the model."""
    other = name in state and value.shape != tuple(state[name].shape)
    return other and any(re.search(pattern, name) for pattern in heads)


def _plain_name(name: str) -> str:
    name = re.sub(r"^module\.", "", name)
    return re.sub(r"^(text_encoder(?:_m)?)\.bert\.", r"\1.", name)


def _has(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _stored_twice(tensors: Mapping[str, np.ndarray], layout: Layout) -> Arrays:
    """Return the tied and shared tensors under their second names, and the position ids."""
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
    """Copy layer n below `prefix` to layers 2n and 2n + 1, as far as they are `wanted`."""
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
