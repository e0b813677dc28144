"""The model packages: what they announce as entry points of the distribution, and the name maps of their checkpoints.

A package is imported only when one of its entries is asked for.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from types import ModuleType

import numpy as np

from pyutils.errors import InputError, nearest

Arrays = Mapping[str, np.ndarray]

CHECKPOINTS = "paddle_vl.checkpoints"
"""Entry points: model → module with `is_ours(names)`, `convert(tensors, origin=…)` and `to_names(tensors, names)`."""
COMMANDS = "paddle_vl.commands"
"""Entry points: model → its `pyutils.engine.commands.Package`."""
EXPORTS = "paddle_vl.exports"
"""Entry points: name → function that makes an `Exportable` of a checkpoint."""


def announced(group: str) -> dict[str, EntryPoint]:
    """The entry points of `group` by name."""
    # A checkout runs without being installed, and an editable installation keeps the entry points of the day it was
    # made: the file beside the packages is right for both.
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    reader = configparser.ConfigParser(delimiters="=", strict=False, allow_no_value=True, interpolation=None)
    reader.read(project, encoding="utf-8")  # none in an installation, or another project's
    section = f'project.entry-points."{group}"'
    if reader.has_section(section):
        return {name: EntryPoint(name, value.strip('"'), group) for name, value in reader[section].items()}
    every = [entry for distribution in distributions() for entry in distribution.entry_points if entry.group == group]
    return {entry.name: entry for entry in reversed(every)}  # of two installations the first on sys.path counts


def to_ours(model: str, tensors: Arrays, origin: str) -> dict[str, np.ndarray]:
    """Tensors of a checkpoint of `model` under our names; unchanged when they have them.

    Raises:
        InputError: another model's checkpoint, or tensors for which there is no rule.
    """
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
    found = announced(CHECKPOINTS)
    if model not in found:
        raise InputError(f"unknown model {model!r}: {nearest(model, found)}")
    return found[model].load()
