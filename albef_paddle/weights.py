"""ALBEF's tensor names in the original's checkpoints and here, and how one task's weights start another's model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
import paddle

from albef_paddle.config import AlbefConfig
from pyutils.engine.checkpoint import read_weights, weight_file
from pyutils.engine.loading import LoadReport, load_arrays
from pyutils.errors import InputError
from pyutils.layers.vit import adapt_positions
from pyutils.weights import vit_names
from pyutils.weights.bert_names import layer_rules, masked_language_rules, text_embedding_rules
from pyutils.weights.names import TENSOR, Converted, NameMap, Rule

Arrays = dict[str, np.ndarray]

SIDES = (("", ""), ("_m", "teacher."))
"""Suffix of the original's module names, and our prefix: the model itself, and its momentum teacher."""

# Left out in silence: a table 0, 1, 2, …, and the decoder, which is tied to the word table and to the head's bias.
UNUSED = (r"embeddings\.position_ids$", r"cls\.predictions\.decoder\.(weight|bias)$")
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


def rules(config: AlbefConfig, images: int = 1) -> list[Rule]:
    """All rules of ALBEF with any of its heads; `images`: how many a text is read with (2: NLVR2).

    The original's `.bert.` inside the text encoder of pre-training checkpoints is taken to be removed.
    """
    found = [
        Rule("itm_head", "matching"),
        Rule("ta_head", "assignment"),
        Rule("temp", "temperature", TENSOR),
        Rule("image_queue", "queue.images", TENSOR),
        Rule("text_queue", "queue.texts", TENSOR),
        Rule("idx_queue", "queue.identities", TENSOR),
        Rule("queue_ptr", "queue.pointer", TENSOR),
    ]
    first, fusion = config.text.fusion_layer, config.text.num_layers - config.text.fusion_layer
    for suffix, own in SIDES:
        decoder = f"text_decoder{suffix}"
        found += vit_names.vision_rules(f"visual_encoder{suffix}.", f"{own}vision.")
        found += text_rules(f"text_encoder{suffix}", f"{own}text", first, fusion * images)
        found += masked_language_rules(f"text_encoder{suffix}.cls.predictions", f"{own}words")
        found += text_rules(f"{decoder}.bert", f"{own}decoder.text", 0, config.decoder_layers)
        found += masked_language_rules(f"{decoder}.cls.predictions", f"{own}decoder.words")
        found += [Rule(f"{kind}_proj{suffix}", f"{own}{kind}_projection") for kind in ("vision", "text")]
        found += [Rule(f"cls_head{suffix}.{place}", f"{own}classifier.{place}") for place in (0, 2)]
    return found


def text_rules(theirs: str, ours: str, text_layers: int, fusion_layers: int) -> list[Rule]:
    """Rules of a text encoder: the original numbers its layers through, ours begin anew with the fusion layers."""
    found = text_embedding_rules(f"{theirs}.embeddings", f"{ours}.embeddings")
    for number in range(text_layers + fusion_layers):
        place = (
            f"text_layers.layers.{number}" if number < text_layers else f"fusion_layers.layers.{number - text_layers}"
        )
        found += layer_rules(f"{theirs}.encoder.layer.{number}", f"{ours}.{place}")
    return found


def convert(tensors: Mapping[str, np.ndarray], config: AlbefConfig, origin: str = "checkpoint") -> Converted:
    """Tensors of one of the original's checkpoints, of any of its tasks, under our names.

    `module.` prefixes and a `{"model": …}` around the tensors are removed. InputError when it is no ALBEF checkpoint;
    `origin` names the file in the message.
    """
    plain = {_plain_name(name): value for name, value in unwrap(tensors).items()}
    if "visual_encoder.cls_token" not in plain:
        shown = ", ".join(sorted(plain)[:3])
        raise InputError(
            f"{origin}: not an ALBEF checkpoint: expected visual_encoder.cls_token and text_encoder.…, found "
            f"{len(plain)} tensors, e.g. {shown}"
        )
    images = 2 if len(_layers(plain, r"^text_encoder\.encoder\.layer\.(\d+)\.")) > config.text.num_layers else 1
    return _name_map(config, images).to_ours(plain)


def to_original(tensors: Mapping[str, np.ndarray], config: AlbefConfig) -> Arrays:
    """Tensors of one of our models under the original's names, with everything it stores twice.

    InputError when a name is not ours.
    """
    images = (
        2
        if len(_layers(tensors, r"^(?:teacher\.)?text\.fusion_layers\.layers\.(\d+)\.")) > _fusion_layers(config)
        else 1
    )
    converted = _name_map(config, images).to_theirs(tensors)
    if converted.unmapped:
        raise InputError(
            f"no tensor of ALBEF: {', '.join(converted.unmapped[:5])}; give the state of one of its models"
        )
    result = converted.tensors
    if "words.bias" in tensors:
        result = {
            re.sub(r"^(text_encoder(?:_m)?)\.(embeddings|encoder)\.", r"\1.bert.\2.", n): v for n, v in result.items()
        }
    return {**result, **_stored_twice(result, config, images)}


@cache
def _name_map(config: AlbefConfig, images: int) -> NameMap:
    return NameMap(rules(config, images), UNUSED + _repeated(config, images))


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
        found, wanted = len(_layers(tensors, layer)), len(_layers(names, layer))
        if found and wanted == 2 * found:
            result = _in_pairs(result, f"{own}text.fusion_layers.layers.", set(names))
    return result


def from_bert(tensors: Mapping[str, np.ndarray], config: AlbefConfig) -> Arrays:
    """Tensors of a BERT checkpoint with Hugging Face's names (`bert.encoder.layer.0.…`; `gamma` and `beta` of old files
    too) as text encoder, language head and answer decoder; the last starts from BERT's first layers."""
    plain = {}
    for name, value in unwrap(tensors).items():
        name = re.sub(r"^(module\.)?(bert\.)?(?=embeddings\.|encoder\.)", "bert.", name)
        plain[name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")] = value
    text, fusion = config.text.fusion_layer, _fusion_layers(config)
    encoder = NameMap([*text_rules("bert", "text", text, fusion), *masked_language_rules("cls.predictions", "words")])
    decoder = NameMap(
        [
            *text_rules("bert", "decoder.text", 0, config.decoder_layers),
            *masked_language_rules("cls.predictions", "decoder.words"),
        ]
    )
    return {**encoder.to_ours(plain).tensors, **decoder.to_ours(plain).tensors}


def from_vit(tensors: Mapping[str, np.ndarray]) -> Arrays:
    """Tensors of a ViT checkpoint with timm's names (DeiT's own files too) as the vision encoder."""
    return NameMap(vit_names.vision_rules("", "vision."), vit_names.HEADS).to_ours(unwrap(tensors)).tensors


def load_initial(
    model: paddle.nn.Layer, source: str, config: AlbefConfig, may_miss: Iterable[str] = NEW_HEADS
) -> LoadReport:
    """Put the weights that `source` names, of this task or another, into `model`; returns what happened to each.

    `source`: a checkpoint of ours (folder or file), or a file with the original's names. Position embeddings of another
    resolution are interpolated; a teacher that the file lacks starts as a copy of the model, a queue it lacks, or has
    in another size, from random features. `may_miss`: further names that it need not hold; () when the model is to
    predict. InputError when it does not fit.
    """
    file = weight_file(source)
    tensors = read_weights(file)
    if "vision.class_token" not in tensors:
        converted = convert(tensors, config, str(file))
        if converted.unmapped:
            raise InputError(f"{file}: no rule for {len(converted.unmapped)} tensors, e.g. {converted.unmapped[0]}")
        tensors = converted.tensors
    return load_tensors(model, tensors, str(file), may_miss)


def load_tensors(
    model: paddle.nn.Layer, tensors: Mapping[str, np.ndarray], origin: str, may_miss: Iterable[str] = NEW_HEADS
) -> LoadReport:
    """`load_initial` for tensors under our names; `origin` names their file in messages."""
    state = model.state_dict()
    tensors = for_model(tensors, state)
    if "queue.images" in state and tensors.get("queue.images", np.empty(0)).shape != tuple(state["queue.images"].shape):
        tensors = {name: value for name, value in tensors.items() if not name.startswith("queue.")}
    report = load_arrays(
        model, tensors, origin, (*CREATED_PARTS, *may_miss, *_teacher_of(may_miss)), OTHER_PARTS, adapt_positions
    )
    with paddle.no_grad():
        for name in report.allowed_missing:
            if name.startswith("teacher."):
                paddle.assign(state[name[len("teacher.") :]], output=state[name])
    return report


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


def _fusion_layers(config: AlbefConfig) -> int:
    return config.text.num_layers - config.text.fusion_layer


def _any(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _layers(names: Iterable[str], pattern: str) -> set[int]:
    """The layer numbers that `pattern` finds."""
    return {int(match.group(1)) for match in map(re.compile(pattern).match, names) if match}


def _repeated(config: AlbefConfig, images: int) -> tuple[str, ...]:
    """Patterns of the keys and values that the second layer of a pair stores again."""
    if images == 1:
        return ()
    first = config.text.fusion_layer
    seconds = "|".join(str(first + 2 * pair + 1) for pair in range(_fusion_layers(config)))
    return (rf"^text_encoder(_m)?\.encoder\.layer\.({seconds})\.crossattention\.self\.(key|value)\.",)


def _stored_twice(tensors: Mapping[str, np.ndarray], config: AlbefConfig, images: int) -> Arrays:
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
        if match and images == 2:
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
