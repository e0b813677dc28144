"""Load weights into a model strictly, with one report about every tensor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
import paddle

from pyutils.errors import InputError, closest

Adapt = Callable[[str, np.ndarray, "tuple[int, ...]"], Optional[np.ndarray]]
_MOST_LISTED = 20


@dataclass
class LoadReport:
    """Result of loading weights, by name.

    matched: loaded unchanged; reshaped: name -> (shape in the file, shape in the model), loaded after `adapt`;
    allowed_missing: missing names that a pattern permits, left as initialised; ignored: extra names that a pattern
    permits; missing, unexpected, mismatched: make a strict load fail.
    """

    source: str
    matched: list[str] = field(default_factory=list)
    reshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    allowed_missing: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True when nothing is missing, unexpected or of another shape beyond what was permitted."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        """Format the report: counts first, then the names of everything but the matched ones."""
        counts = [("matched", self.matched), ("reshaped", self.reshaped), ("missing, allowed", self.allowed_missing)]
        counts += [("unexpected, allowed", self.ignored), ("missing", self.missing)]
        counts += [("unexpected", self.unexpected), ("other shape", self.mismatched)]
        lines = [f"weights from {self.source}: " + ", ".join(f"{len(names)} {what}" for what, names in counts if names)]
        for what, names in counts[1:]:
            lines += _listed(what, names)
        return "\n".join(lines)


def load_arrays(
    model: paddle.nn.Layer,
    arrays: Mapping[str, np.ndarray],
    source: str,
    may_miss: Iterable[str] = (),
    may_be_extra: Iterable[str] = (),
    adapt: Adapt | None = None,
) -> LoadReport:
    """Load `arrays` (structured name -> array) into the parameters and buffers of `model`, all of them or none.

    Args:
        source: where the arrays come from, for messages.
        may_miss: regular expressions (`re.search`) of model names that may be missing in the file.
        may_be_extra: regular expressions of names in the file that may be missing in the model.
        adapt: called as `adapt(name, array, wanted_shape)` when shapes differ; returns an array of the wanted shape
            (interpolated position embeddings) or None.
    Raises:
        InputError: anything missing, unexpected or of another shape that is not permitted; the model is untouched.
    """
    state = model.state_dict()
    report, ready = _compare(state, arrays, source, list(may_miss), list(may_be_extra), adapt)
    if not report.ok:
        raise InputError(f"{report}\n{_advice(report, state)}")
    with paddle.no_grad():
        for name, array in ready.items():
            target = state[name]
            target.set_value(paddle.to_tensor(np.asarray(array, order="C")).astype(target.dtype))
    return report


def _compare(
    state: Mapping[str, paddle.Tensor],
    arrays: Mapping[str, np.ndarray],
    source: str,
    may_miss: list[str],
    may_be_extra: list[str],
    adapt: Adapt | None,
) -> tuple[LoadReport, dict[str, np.ndarray]]:
    """The report, and the arrays that fit, under the model's names."""
    report, ready = LoadReport(source), {}
    for name, tensor in state.items():
        if name not in arrays:
            (report.allowed_missing if _matches(may_miss, name) else report.missing).append(name)
            continue
        array, wanted = arrays[name], tuple(tensor.shape)
        adapted = array if array.shape == wanted else adapt(name, array, wanted) if adapt else None
        if adapted is None or adapted.shape != wanted:
            report.mismatched[name] = (array.shape, wanted)
            continue
        if adapted is array:
            report.matched.append(name)
        else:
            report.reshaped[name] = (array.shape, wanted)
        ready[name] = adapted
    for name in arrays:
        if name not in state:
            (report.ignored if _matches(may_be_extra, name) else report.unexpected).append(name)
    return report, ready


def _listed(what: str, names: Iterable[str] | Mapping[str, tuple]) -> list[str]:
    if isinstance(names, Mapping):
        entries = [f"{name}: file {list(found)}, model {list(wanted)}" for name, (found, wanted) in names.items()]
    else:
        entries = list(names)
    lines = [f"  {what}: {entry}" for entry in entries[:_MOST_LISTED]]
    if len(entries) > _MOST_LISTED:
        lines.append(f"  {what}: … and {len(entries) - _MOST_LISTED} more")
    return lines


def _advice(report: LoadReport, state: Mapping[str, paddle.Tensor]) -> str:
    """Advice for a load that failed."""
    if not report.matched and not report.mismatched:
        return (
            "None of the tensor names match this model: it is a checkpoint of another model, or must be converted "
            "first."
        )
    if report.mismatched:
        return (
            "The checkpoint was saved with different model settings. Use the config.yaml beside it, or set the sizes "
            "in your configuration to the shapes listed above."
        )
    similar = closest(report.missing[0], report.unexpected) if report.missing else None
    hint = f" ({report.missing[0]} may be {similar} in the file)" if similar else ""
    return (
        f"Name a checkpoint of this model, or permit a new head with a regular expression of names that may be "
        f"missing{hint}."
    )


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)
