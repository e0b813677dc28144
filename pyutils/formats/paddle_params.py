"""Read Paddle's `.pdparams` and `.pdopt`, pickles of arrays; `paddle.load` would execute them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError
from pyutils.formats import safe_pickle
from pyutils.formats.plain_values import Misuse, brief, expect
from pyutils.formats.tensor_files import widen_bfloat16

PARAMETER_NAMES = "StructuredToParameterName@@"
_BIG_TENSORS = "UnpackBigParamInfor@@"
_MOST_AXES = 64


def load(path: Path) -> Any:
    """Return the object of a file of `paddle.save`, usually {name: array}; bfloat16, stored as uint16, as float32.

    Tensors that pickle protocols 2 and 3 store in slices are joined; the table of automatic parameter names is dropped.

    Raises:
        InputError: the file is damaged or truncated, or its pickle is more than data.
    """
    with path.open("rb") as stream:
        content = safe_pickle.load(stream, str(path), _names())
    if isinstance(content, dict):
        content.pop(PARAMETER_NAMES, None)
        _join_slices(content, str(path), path.stat().st_size)
    return _widened(content)


def _names() -> dict[str, Callable[..., Any]]:
    """Replacements of the calls of `tuple` and `eval` as which `paddle.save` writes a tensor outside a state dict."""
    table: dict[str, Callable[..., Any]] = {}
    for module in ("builtins", "__builtin__"):
        table[f"{module}.tuple"] = _from_pair
        table[f"{module}.eval"] = _from_expression
    return table


def _from_pair(pair: Any = ()) -> Any:
    """`tuple((automatic name, array))`: the array."""
    plain = isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], np.ndarray)
    expect(plain, "tuple of anything but a named array")
    return pair[1]


def _from_expression(expression: Any, values: Any) -> np.ndarray:
    """`eval("data", {"data": array})`: the array."""
    plain = isinstance(values, dict) and list(values) == ["data"] and isinstance(values["data"], np.ndarray)
    expect(plain and expression == "data", "evaluation of an expression")
    return values["data"]


def _join_slices(content: dict, where: str, size: int) -> None:
    """Join the tensors that `content`, of a file of `size` bytes, stores in slices."""
    table = content.pop(_BIG_TENSORS, {})
    try:
        for name, entry in table.items():
            parts = [_slice(content, part) for part in entry["slices"]]
            size -= sum(part.nbytes for part in parts)
            expect(size >= 0, "together they are larger than the file")
            content[name] = np.concatenate(parts).reshape(_shape(entry["OriginShape"]))
    except (KeyError, TypeError, ValueError, AttributeError, Misuse) as error:
        raise InputError(f"{where}: the slices of a large tensor do not fit together ({error})") from error


def _slice(content: dict, name: Any) -> np.ndarray:
    """Remove the array `name` from `content` and return it flat. Lists are refused: one that holds one list twice, and
    that another one twice, would never be flat."""
    plain = isinstance(name, str) and isinstance(content.get(name), np.ndarray)
    expect(plain, f"{brief(name)} is no array of the file")
    return np.ravel(content.pop(name))


def _shape(lengths: Any) -> tuple[int, ...]:
    plain = isinstance(lengths, (list, tuple)) and len(lengths) <= _MOST_AXES
    plain = plain and all(isinstance(length, int) and 0 <= length < 1 << 62 for length in lengths)
    expect(plain, f"the shape is {brief(lengths)}")
    return tuple(lengths)


def _widened(content: Any) -> Any:
    """`content` with uint16 arrays, at its top or in dictionaries of any depth, read as bfloat16.

    A pickle may hold one array or dictionary many times, and a dictionary inside itself: each is converted once.
    """
    done: dict[int, tuple[Any, Any]] = {}  # id → (object, kept alive so that its id stays its own; result)

    def widened(array: np.ndarray) -> np.ndarray:
        if id(array) not in done:
            done[id(array)] = array, widen_bfloat16(array) if array.dtype == np.uint16 else array
        return done[id(array)][1]

    if isinstance(content, np.ndarray):
        return widened(content)
    waiting = [content]
    while waiting:
        mapping = waiting.pop()
        if not isinstance(mapping, dict) or id(mapping) in done:
            continue
        done[id(mapping)] = mapping, mapping
        for name, value in mapping.items():
            if isinstance(value, np.ndarray):
                mapping[name] = widened(value)
            else:
                waiting.append(value)
    return content
