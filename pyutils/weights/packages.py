"""Whose checkpoint is it? The model packages and their name maps, imported only when one is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyutils.errors import InputError, nearest

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Package:
    """A model package.

    module: offers `convert(tensors, origin)` and `to_names(tensors, names)`, or, where `config` names the class of its
    configuration, `convert(tensors, config, origin)` and `to_original(tensors, config)`. ours: beginning of a name that
    only its own checkpoints have. config_first: whether `convert` takes the configuration.
    """

    module: str
    ours: str
    config: tuple[str, str] | None = None
    config_first: bool = False


MODELS = {
    "visualbert": Package("visualbert_paddle.weights", "encoder.embeddings.text."),
    "vilbert": Package(
        "vilbert_paddle.weights", "encoder.text_embeddings.", ("vilbert_paddle.config", "VilbertConfig")
    ),
    "albef": Package("albef_paddle.weights", "vision.class_token", ("albef_paddle.config", "AlbefConfig"), True),
}

# (part of a name, what a checkpoint with it is); the first that is found counts.
_LOOKS = (
    ("vision.class_token", "ALBEF, ours"),
    ("encoder.text_embeddings.", "ViLBERT, ours"),
    ("encoder.embeddings.text.", "VisualBERT, ours"),
    ("visual_encoder.cls_token", "ALBEF with the names of its authors"),
    ("bert.v_embeddings.", "ViLBERT with the names of its authors"),
    ("bert.bert.embeddings.", "VisualBERT with the names of its authors"),
    ("visual_bert.encoder.layer.layers.", "VisualBERT with the names of PaddleNLP"),
    ("visual_bert.", "VisualBERT with the names of Hugging Face"),
    ("token_type_embeddings_visual", "VisualBERT with the names of MMF"),
    ("self_attn.q_proj.", "a text model with the names of paddlenlp"),
    ("embeddings.word_embeddings.weight", "a BERT with the names of Hugging Face"),
    ("blocks.0.attn.qkv.", "a vision transformer with the names of timm"),
    ("_moment1_0", "the state of an optimizer of Paddle"),
)


def looks_like(names: Iterable[str]) -> str:
    """What a checkpoint with tensors of these names is, in words."""
    names = list(names)
    return next((told for part, told in _LOOKS if any(part in name for name in names)), "none that is known here")


def find(model: str) -> Package:
    """The package of `model`; InputError names the nearest known one."""
    if model not in MODELS:
        raise InputError(f"unknown model {model!r}: {nearest(model, MODELS)}")
    return MODELS[model]


def to_ours(model: str, tensors: Arrays, origin: str) -> dict[str, np.ndarray]:
    """Tensors of a checkpoint of `model` under our names; as they are when they have them.

    ALBEF's and ViLBERT's maps are those of the published sizes. InputError: another model's checkpoint, or tensors for
    which there is no rule.
    """
    package = find(model)
    if any(name.startswith(package.ours) for name in tensors):
        return dict(tensors)
    module = importlib.import_module(package.module)
    arguments = (_config(package), origin) if package.config_first else (origin,)
    converted = module.convert(tensors, *arguments)
    if converted.unmapped:
        shown = ", ".join(converted.unmapped[:5])
        raise InputError(f"{origin}: no rule for {len(converted.unmapped)} tensors, e.g. {shown}")
    return converted.tensors


def to_theirs(model: str, tensors: Arrays, names: str) -> dict[str, np.ndarray]:
    """Our tensors under the names of another code base: `names` is "authors", for VisualBERT any of its code bases."""
    package = find(model)
    module = importlib.import_module(package.module)
    if package.config is None:
        return module.to_names(tensors, names)
    if names != "authors":
        raise InputError(f"{model} can be written with the names of its authors only: --names authors, found {names!r}")
    return module.to_original(tensors, _config(package))


def _config(package: Package) -> Any:
    """The configuration of the published checkpoints."""
    module, name = package.config
    return getattr(importlib.import_module(module), name)()
