"""What exporters share: the files that travel from a checkpoint folder to the served one, and ranked answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike
from pyutils.weights.checkpoint import CONFIG_FILE, resolve_weights

VOCABULARY = "vocab.txt"
_FEWEST_ANSWERS = 3


class Answer(NamedTuple):
    """An answer and its probability."""

    text: str
    probability: float


def checkpoint_folder(checkpoint: PathLike) -> Path:
    """The folder with the weights that `checkpoint` names: a checkpoint or output folder, a file, or a known name."""
    return resolve_weights(checkpoint).parent


def run_settings(folder: Path) -> dict[str, Any]:
    """The configuration of the run that wrote the checkpoint `folder`, as plain values; {} without one."""
    path = folder / CONFIG_FILE
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


def beside(folder: Path, named: str | None, usual: str) -> Path:
    """The copy of the file `named` in a configuration that lies in `folder`; of the name `usual` where none is."""
    return folder / (Path(named).name if named else usual)


def required(folder: PathLike, names: Sequence[str]) -> Path:
    """`folder`, where all files `names` are; InputError names a missing one."""
    folder = Path(folder)
    for name in names:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name} there: copy it from the checkpoint, or use Predictor for scores")
    return folder


def check_answers(answers: Path, outputs: int) -> None:
    """InputError unless a model of so many `outputs` can answer with the list in the file `answers`.

    Without the file the scores can still be served; but two outputs are those of a model that judges sentences.
    """
    if answers.is_file():
        known = len(AnswerVocabulary.load(answers))
        if known != outputs:
            raise InputError(
                f"{answers}: {known} answers, but the model has {outputs} outputs: take the list that it was trained "
                "with, or a checkpoint of question answering"
            )
    elif outputs < _FEWEST_ANSWERS:
        raise InputError(
            f"{answers.parent}: no {answers.name} there, and {outputs} outputs, as a model that judges sentences "
            "(NLVR2) has: name a checkpoint of question answering, or put its answer list there"
        )


def paired(first: Sequence[Any], second: Sequence[Any], what: str) -> None:
    """InputError unless both have the same number of entries, and some; `what` names the first."""
    if len(first) != len(second) or not first:
        raise InputError(f"{len(first)} {what} and {len(second)} pictures: give one picture for each of the {what}")


def ranked(shares: np.ndarray, texts: Sequence[str], top: int) -> list[list[Answer]]:
    """The `top` best of `texts` for each row of probabilities `[questions, texts]`. InputError for a `top` below 1."""
    if top < 1:
        raise InputError(f"top: expected 1 or more, found {top}")
    best = np.argsort(-shares, axis=1, kind="stable")[:, :top]
    return [[Answer(texts[place], float(row[place])) for place in order] for row, order in zip(shares, best)]
