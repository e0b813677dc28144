"""Paddle's `.pdparams` and `.pdopt`: a pickle of arrays, read without `paddle.load`, which would run it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.data.safe_pickle import Misuse, StandIn
from pyutils.engine.tensor_files import widen_bfloat16
from pyutils.errors import InputError
from pyutils.weights import pickles

PARAMETER_NAMES = "StructuredToParameterName@@"
_BIG_TENSORS = "UnpackBigParamInfor@@"


def load(path: Path) -> Any:
    """The object of a file of `paddle.save`: usually {name: array}; bfloat16, which is stored as uint16, as float32.

    Tensors that pickle protocols 2 and 3 had to cut into slices are whole again, and the table of automatic parameter
    names is left out. Raises InputError: damaged, cut short, or a pickle that holds more than data.
    """
    with path.open("rb") as stream:
        content = pickles.load(stream, str(path), path.stat().st_size, _names())
    if isinstance(content, dict):
        content.pop(PARAMETER_NAMES, None)
        _join_slices(content, str(path), path.stat().st_size)
    return _widened(content, {})


def _names() -> dict[str, StandIn]:
    """How `paddle.save` writes a tensor that is not in a state dict: as a call of `tuple` or of `eval`, neither of
    which is made."""
    table = {}
    for module in ("builtins", "__builtin__"):
        table[f"{module}.tuple"] = StandIn(_from_pair)
        table[f"{module}.eval"] = StandIn(_from_expression)
    return table


def _from_pair(pair: Any = ()) -> Any:
    """`tuple((automatic name, array))`: the array."""
    if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[1], np.ndarray):
        raise Misuse("tuple of anything but a named array")
    return pair[1]


def _from_expression(expression: Any, values: Any) -> np.ndarray:
    """`eval("data", {"data": array})`: the array."""
    plain = isinstance(values, dict) and list(values) == ["data"] and isinstance(values["data"], np.ndarray)
    if expression != "data" or not plain:
        raise Misuse("evaluation of an expression")
    return values["data"]


def _join_slices(content: dict, where: str, size: int) -> None:
    """Put together the tensors whose slices `content`, of a file of `size` bytes, holds."""
    table = content.pop(_BIG_TENSORS, {})
    try:
        for name, entry in table.items():
            parts = [np.ravel(content.pop(part)) for part in entry["slices"]]
            size -= sum(part.nbytes for part in parts)
            if size < 0:
                raise ValueError("together they are larger than the file")
            content[name] = np.concatenate(parts).reshape(entry["OriginShape"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: the slices of a large tensor do not fit together ({error})") from error


def _widened(content: Any, done: dict[int, tuple[np.ndarray, np.ndarray]]) -> Any:
    """`content` with uint16 arrays, at its top or one level below, read as bfloat16. `done`: by identity, those that
    have been; a pickle may name one array many times, and each is widened once."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            if isinstance(value, dict):
                _widened(value, done)
            else:
                content[name] = _widened(value, done) if isinstance(value, np.ndarray) else value
        return content
    if isinstance(content, np.ndarray) and content.dtype == np.uint16:
        if id(content) not in done:
            done[id(content)] = widen_bfloat16(content), content  # kept: its identity must not be given away
        return done[id(content)][0]
    return content
