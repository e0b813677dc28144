"""Earlier names of configuration keys, which files and command lines of users may still have."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from pyutils.errors import InputError


class Renamed(NamedTuple):
    """The present name of a key (dotted), and of those of its values that changed, too."""

    key: str
    values: Mapping[Any, Any] = {}


def with_new_names(tree: dict, renamed: Mapping[str, Renamed], origin: str) -> dict:
    """Return the values `tree` of a file or a flag (`origin`) with the present names of the keys in `renamed`.

    Says once which name replaces which. Raises InputError if both names are in the tree.
    """
    for old, (new, values) in renamed.items():
        found = _pop(tree, old.split("."))
        if found is None:
            continue
        *sections, last = new.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        if last in node and old != new:
            raise InputError(f"{origin}: {old} is the earlier name of {new}, and both are given; keep {new}")
        node[last] = values.get(found, found)
        if old != new or node[last] != found:
            _say(f"{origin}: {old}={found} is now {new}={node[last]}")
    return tree


def _pop(tree: dict, keys: list[str]) -> Any:
    """Remove and return the value at `keys`, with sections that become empty; None if there is none."""
    first, *rest = keys
    if not rest:
        return tree.pop(first, None)
    node = tree.get(first)
    if not isinstance(node, dict):
        return None
    found = _pop(node, rest)
    if found is not None and not node:
        del tree[first]
    return found


@cache
def _say(message: str) -> None:
    print(message, file=sys.stderr)
