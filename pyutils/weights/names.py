"""Table-driven maps between the tensor names of another code base and ours, both ways.

A map is a list of `NameRule`s. `{}` in a name is a number that both names share. A rule for a linear layer
covers its bias and its weight, which PyTorch keeps `[out, in]` and Paddle `[in, out]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

LINEAR, NORM, TENSOR, MATRIX = "linear", "norm", "tensor", "matrix"


@dataclass(frozen=True)
class NameRule:
    """One entry: `theirs` and `ours` are names of a layer (kinds LINEAR, NORM: `.weight` and `.bias` are added) or of a
    single tensor, as it is (kind TENSOR) or transposed (kind MATRIX)."""

    theirs: str
    ours: str
    kind: str = LINEAR

    def pairs(self) -> list[tuple[str, str, bool]]:
        """(their name, our name, transposed?) of each tensor the rule covers."""
        if self.kind in (TENSOR, MATRIX):
            return [(self.theirs, self.ours, self.kind == MATRIX)]
        return [
            (f"{self.theirs}.weight", f"{self.ours}.weight", self.kind == LINEAR),
            (f"{self.theirs}.bias", f"{self.ours}.bias", False),
        ]


@dataclass
class Converted:
    """Result of a conversion: `tensors` under the new names, and the old names without a rule."""

    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    unmapped: list[str] = field(default_factory=list)


class NameMap:
    """A set of rules that can be applied in both directions. `drop`: regular expressions of their names that have no
    counterpart here and are dropped silently (unused or repeated tensors)."""

    def __init__(self, rules: Iterable[NameRule], drop: Iterable[str] = ()):
        self._to_ours: list[tuple[re.Pattern[str], str, bool]] = []
        self._to_theirs: list[tuple[re.Pattern[str], str, bool]] = []
        for rule in rules:
            for theirs, ours, transposed in rule.pairs():
                self._to_ours.append((_pattern(theirs), _template(ours), transposed))
                self._to_theirs.append((_pattern(ours), _template(theirs), transposed))
        self._drop = [re.compile(pattern) for pattern in drop]

    def to_ours(self, tensors: Mapping[str, np.ndarray]) -> Converted:
        """Rename and transpose tensors of the other code base."""
        kept = {name: value for name, value in tensors.items() if not any(p.search(name) for p in self._drop)}
        return _apply(kept, self._to_ours)

    def to_theirs(self, tensors: Mapping[str, np.ndarray]) -> Converted:
        """The inverse of `to_ours` (dropped tensors do not come back)."""
        return _apply(tensors, self._to_theirs)


def in_paddle_layout(rules: Iterable[NameRule]) -> list[NameRule]:
    """The same rules for a code base that keeps its matrices `[in, out]`, as Paddle does: nothing is transposed."""
    kinds = {LINEAR: NORM, MATRIX: TENSOR}
    return [replace(rule, kind=kinds.get(rule.kind, rule.kind)) for rule in rules]


def prefixed(rules: Iterable[NameRule], theirs: str, ours: str) -> list[NameRule]:
    """The same rules below a prefix on each side: «theirs» + name, «ours» + name."""
    return [NameRule(theirs + rule.theirs, ours + rule.ours, rule.kind) for rule in rules]


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\{\}", r"(\d+)"))


def _template(name: str) -> str:
    parts = name.split("{}")
    return parts[0] + "".join(rf"\g<{number}>{part}" for number, part in enumerate(parts[1:], start=1))


def _apply(tensors: Mapping[str, np.ndarray], rules: list[tuple[re.Pattern[str], str, bool]]) -> Converted:
    result = Converted()
    for name, value in tensors.items():
        for pattern, template, transposed in rules:
            match = pattern.fullmatch(name)
            if match:
                result.tensors[match.expand(template)] = value.T if transposed else value
                break
        else:
            result.unmapped.append(name)
    return result
