"""Shared by the exporters: files copied from the checkpoint folder to the exported one, and ranked answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike
from pyutils.weights.checkpoint import CONFIG_FILE
from pyutils.weights.places import resolve_weights

VOCABULARY = "vocab.txt"
_FEWEST_ANSWERS = 3


class Answer(NamedTuple):
    """An answer and its probability."""

    text: str
    probability: float


def checkpoint_folder(checkpoint: PathLike) -> Path:
    """Return the folder of the weights that `checkpoint` names, as in `resolve_weights`."""
    return resolve_weights(checkpoint).parent


def run_settings(folder: Path) -> dict[str, Any]:
    """Return the configuration of the run that wrote the checkpoint `folder` as plain values; {} without one."""
    path = folder / CONFIG_FILE
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


def beside(folder: Path, named: str | None, usual: str) -> Path:
    """Return the path in `folder` of the file that a configuration calls `named`; `usual` where it names none."""
    return folder / (Path(named).name if named else usual)


def required(folder: PathLike, names: Sequence[str]) -> Path:
    """Return `folder` as a path. InputError names a file of `names` that is missing in it."""
    folder = Path(folder)
    for name in names:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: {name} is missing: copy it from the checkpoint, or use Predictor for scores")
    return folder


def check_answers(answers: Path, outputs: int) -> None:
    """Raise InputError unless the file `answers` lists one answer per output of the model.

    Without the file the scores can still be served; but two outputs are those of NLVR2.
    """
    if answers.is_file():
        known = len(AnswerVocabulary.load(answers))
        if known != outputs:
            raise InputError(
                f"{answers}: {known} answers, but the model has {outputs} outputs: use the list that it was trained "
                "with, or a VQA checkpoint"
            )
    elif outputs < _FEWEST_ANSWERS:
        raise InputError(
            f"{answers.parent}: {answers.name} is missing, and the model has {outputs} outputs, as for NLVR2: name "
            "a VQA checkpoint, or copy its answer list there"
        )


def paired(first: Sequence[Any], second: Sequence[Any], what: str) -> None:
    """Raise InputError unless both have the same number of entries, at least one; `what` names the first."""
    if len(first) != len(second) or not first:
        raise InputError(f"{len(first)} {what} and {len(second)} images: give one image for each of the {what}")


def ranked(shares: np.ndarray, texts: Sequence[str], top: int) -> list[list[Answer]]:
    """Return the `top` best of `texts` for each row of probabilities `[questions, texts]`. InputError for `top` < 1."""
    if top < 1:
        raise InputError(f"top: expected 1 or more, found {top}")
    best = np.argsort(-shares, axis=1, kind="stable")[:, :top]
    return [[Answer(texts[place], float(row[place])) for place in order] for row, order in zip(shares, best)]
