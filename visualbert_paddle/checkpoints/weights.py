"""Convert and load VisualBERT's weights: checkpoints of every code base under our names, and ours under theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import paddle

from pyutils.errors import InputError, nearest
from pyutils.weights import read
from pyutils.weights.loading import LoadReport, load_arrays
from pyutils.weights.names import Converted
from pyutils.weights.places import resolve_weights
from visualbert_paddle.checkpoints.names import NAME_MAPS, NAMES, TIED

Arrays = dict[str, np.ndarray]

# Heads in a checkpoint that a model of another task lacks.
OTHER_HEADS = (r"^(words|sentence_image|classifier|query|key|contrast)\.",)
# Parts that a text-only BERT lacks.
BEYOND_TEXT = (r"^encoder\.embeddings\.region_projection\.", r"^encoder\.joint_layer\.", r"^encoder\.pooler\.")

_TEXT, _REGIONS = "encoder.embeddings.text.", "encoder.embeddings.region_"
_BARE = re.compile(r"(embeddings|encoder|pooler|additional_layer)\.")


def is_ours(names: Iterable[str]) -> bool:
    """True for the tensor names of this package."""
    return any(name.startswith(_TEXT) for name in names)


def convert_visualbert_weights(tensors: Mapping[str, np.ndarray], origin: str = "checkpoint") -> Converted:
    """Tensors of a VisualBERT checkpoint of any code base in `NAME_MAPS`, or of a text-only BERT, under our names.

    Prefixes of data-parallel training (`module.`) and of MMF (`model.`) are removed; gamma and beta become weight and
    bias. For a text-only BERT the tables of the regions are copies of the words' tables, as the authors initialise
    them. InputError for names of no such code base; `origin` names the file in the message.
    """
    plain = {_plain(name): value for name, value in tensors.items()}
    if not any(name.startswith(("bert.", "visual_bert.")) for name in plain):
        prefix = "visual_bert." if "embeddings.visual_projection.weight" in plain else "bert."
        plain = {prefix + name if _BARE.match(name) else name: value for name, value in plain.items()}
    found = code_base(plain)
    if found is None:
        shown = ", ".join(sorted(plain)[:3])
        raise InputError(
            f"{origin}: not a VisualBERT checkpoint (of the authors, Hugging Face, MMF or PaddleNLP) nor a BERT: it "
            f"has {len(plain)} tensors, e.g. {shown}"
        )
    result = NAME_MAPS[found].to_ours(plain)
    if found in ("bert", "paddlenlp_bert"):
        for table in ("positions", "token_types"):
            result.tensors[f"{_REGIONS}{table}.weight"] = result.tensors[f"{_TEXT}{table}.weight"]
    return result


convert = convert_visualbert_weights  # the name that `pyutils.weights` calls in every model package


def code_base(tensors: Mapping[str, np.ndarray]) -> str | None:
    """The key of `NAME_MAPS` for original names without further prefixes; None for names of none of them."""
    names = set(tensors)
    paddle_layers = any(".self_attn.q_proj." in name for name in names)
    if "bert.bert.embeddings.word_embeddings.weight" in names:
        return "authors"
    if "visual_bert.embeddings.word_embeddings.weight" in names:
        return "paddlenlp" if paddle_layers else "huggingface"
    if "bert.embeddings.word_embeddings.weight" not in names:
        return None
    if "bert.embeddings.projection.weight" in names:
        return "mmf"
    return "paddlenlp_bert" if paddle_layers else "bert"


def to_names(tensors: Mapping[str, np.ndarray], names: str) -> Arrays:
    """Our tensors under the names of another code base (a key of `NAMES`), with its copies of tied tensors.

    InputError for an unknown code base, or for a tensor without a name there.
    """
    if names not in NAMES:
        raise InputError(f"VisualBERT has no names {names!r}: {nearest(names, NAMES)}")
    converted = NAME_MAPS[names].to_theirs(tensors)
    if converted.unmapped:
        raise InputError(f"{names} has no name for {len(converted.unmapped)} tensors, e.g. {converted.unmapped[0]}")
    result, head = converted.tensors, f"{NAMES[names]['pretraining']}.predictions"
    if "words.bias" in tensors:
        ours = {"words": tensors[f"{_TEXT}words.table.weight"], "bias": tensors["words.bias"]}
        result.update({f"{head}.{second}": ours[first] for second, first in TIED[names].items()})
    return result


def load_initial(model: paddle.nn.Layer, source: str, may_miss: Iterable[str] = ()) -> LoadReport:
    """Load the weights that `source` names into `model` and report every tensor.

    `source`: a file or folder with weights of ours or of any code base in `NAME_MAPS`, in any format of
    `pyutils.weights.read`, or a name (`resolve_weights`). `may_miss`: regular expressions of our names that may be
    missing; heads that this model lacks are ignored. InputError when the weights do not fit.
    """
    file = resolve_weights(source)
    tensors, lacking = read_checkpoint(file)
    return load_arrays(model, tensors, str(file), [*may_miss, *lacking], OTHER_HEADS)


def read_checkpoint(file: Path) -> tuple[Arrays, list[str]]:
    """Tensors of a weight file of ours or of any code base under our names, and patterns of the names that may be
    missing (the parts for regions, for a text-only BERT). InputError for other files and unknown tensors."""
    tensors = read(file)
    if is_ours(tensors):
        return tensors, []
    converted = convert_visualbert_weights(tensors, str(file))
    if converted.unmapped:
        raise InputError(f"{file}: no rule for {len(converted.unmapped)} tensors, e.g. {converted.unmapped[0]}")
    text_only = f"{_REGIONS}projection.weight" not in converted.tensors
    return converted.tensors, list(BEYOND_TEXT) if text_only else []


def _plain(name: str) -> str:
    name = re.sub(r"^(module\.)?(model\.)?", "", name)
    return re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name))
