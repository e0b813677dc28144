"""Whose checkpoint is it? The model packages and their name maps, imported only when one is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

import numpy as np

from pyutils.errors import InputError, nearest

Arrays = Mapping[str, np.ndarray]

MODELS = {
    "albef": "albef_paddle.checkpoints.weights",
    "vilbert": "vilbert_paddle.checkpoints.weights",
    "visualbert": "visualbert_paddle.checkpoints.weights",
}
"""Model → module that offers `is_ours(names)`, `convert(tensors, origin=…)` and `to_names(tensors, names)`."""


def to_ours(model: str, tensors: Arrays, origin: str) -> dict[str, np.ndarray]:
    """Tensors of a checkpoint of `model` under our names; as they are when they have them. InputError: another model's
    checkpoint, or tensors for which there is no rule."""
    module = _module(model)
    if module.is_ours(tensors):
        return dict(tensors)
    converted = module.convert(tensors, origin=origin)
    if converted.unmapped:
        shown = ", ".join(converted.unmapped[:5])
        raise InputError(f"{origin}: no rule for {len(converted.unmapped)} tensors, e.g. {shown}")
    return converted.tensors


def to_theirs(model: str, tensors: Arrays, names: str) -> dict[str, np.ndarray]:
    """Our tensors under the names of another code base of `model`. InputError names the nearest one that it has."""
    return _module(model).to_names(tensors, names)


def _module(model: str) -> ModuleType:
    if model not in MODELS:
        raise InputError(f"unknown model {model!r}: {nearest(model, MODELS)}")
    return importlib.import_module(MODELS[model])
