"""Shared by the exports of the model packages: the exported checkpoint, and an exported model with its tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Optional

import numpy as np

from pyutils.config.loading import parse_mapping
from pyutils.data.features import RegionFeatures
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.errors import InputError
from pyutils.export.predictor import StaticPredictor
from pyutils.formats.atomic import PathLike
from pyutils.text.tokenizer import WordPiece
from pyutils.weights.checkpoint import CONFIG_FILE
from pyutils.weights.places import resolve_weights

VOCABULARY = "vocab.txt"
_FEWEST_ANSWERS = 3
_TEXT_INPUTS = ("input_ids", "text_mask", "token_type_ids")


class Answer(NamedTuple):
    """An answer and its probability."""

    text: str
    probability: float


class RunFolder:
    """Checkpoint folder to export (see `resolve_weights`) and the configuration of its run, {} without one."""

    def __init__(self, checkpoint: PathLike) -> None:
        self.path = resolve_weights(checkpoint).parent
        config = self.path / CONFIG_FILE
        self.config = parse_mapping(config.read_text(encoding="utf-8"), str(config)) if config.is_file() else {}

    def answer_list(self, configured: Optional[str], usual: str, outputs: int) -> Path:
        """Return the path of the answer list, `configured` in the run or else `usual`.

        Without the file the scores can still be served, but two outputs are those of NLVR2.

        Raises:
            InputError: the list has other than `outputs` answers, or is missing for fewer than 3 outputs.
        """
        path = self.beside(configured or usual)
        known = len(AnswerVocabulary.load(path)) if path.is_file() else None
        if known != outputs and (known is not None or outputs < _FEWEST_ANSWERS):
            found = "file is missing" if known is None else f"{known} answers"
            raise InputError(
                f"{path}: {found}, but the model has {outputs} outputs (NLVR2 has 2): export a VQA checkpoint, with "
                "the answer list it was trained with"
            )
        return path

    def beside(self, configured: str) -> Path:
        """Return the path in the folder of a file that the configuration has elsewhere."""
        return self.path / Path(configured).name

    def files(self, *more: Path) -> list[Path]:
        """Return those of the vocabulary and `more` that exist."""
        return [path for path in (self.path / VOCABULARY, *more) if path.is_file()]

    def limit(self, key: str, usual: int, most: int) -> int:
        """Return the number `key` of the configuration, `usual` without it, but not above `most`."""
        return min(int(self.config.get(key, usual)), most)


class ServedModel:
    """An exported model with its tokenizer and, if `read_answers` is set, its answer list.

    `options` are those of `StaticPredictor`. Raises InputError for a missing vocabulary or answer list.
    """

    special_in_text: ClassVar[bool] = False
    read_answers: ClassVar[Any] = None  # static method: path -> answers

    def __init__(self, folder: PathLike, **options) -> None:
        self.predictor = StaticPredictor(folder, **options)
        self.settings = self.predictor.settings
        self.tokenizer = WordPiece(Path(folder) / VOCABULARY, special_in_text=self.special_in_text)
        self.answers: Any = self.read_answers and self.read_answers(Path(folder) / self.settings["answers"])

    def check_regions(self, texts: Sequence[str], regions: Sequence[RegionFeatures], kind: str) -> None:
        """Raise InputError unless there is one image of the right feature dimension per text."""
        check_pairs(texts, regions, kind)
        needed = self.predictor.inputs["region_features"][0][-1]
        for number, image in enumerate(regions):
            if image.features.shape[1] != needed:
                raise InputError(f"expected {needed}-d regions, image {number} has {image.features.shape[1]}-d ones")

    def best_answers(
        self, scores: np.ndarray, probabilities: Callable[[np.ndarray], np.ndarray], top: int
    ) -> list[list[Answer]]:
        """Return the `top` answers per row of `scores` `[questions, answers]`, never the unknown one."""
        if self.answers.unknown is not None:
            scores[:, self.answers.unknown] = -np.inf
        return ranked(probabilities(scores), self.answers, top)


def check_pairs(texts: Sequence[Any], images: Sequence[Any], kind: str) -> None:
    """Raise InputError unless both have the same number of entries, at least one; `kind` names the texts."""
    if len(texts) != len(images) or not texts:
        raise InputError(f"{len(texts)} {kind} and {len(images)} images: give one image for each of the {kind}")


def ranked(probabilities: np.ndarray, texts: Sequence[str], top: int) -> list[list[Answer]]:
    """Return the `top` best of `texts` per row of `probabilities` `[questions, texts]`. InputError for `top` < 1."""
    if top < 1:
        raise InputError(f"top: expected 1 or more, found {top}")
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [[Answer(texts[index], float(row[index])) for index in order] for row, order in zip(probabilities, best)]


def region_inputs(dimension: int) -> dict[str, tuple[list[Optional[int]], str]]:
    """Return the inputs (shape, dtype) that ViLBERT and VisualBERT share: texts, and regions of `dimension` numbers."""
    text: dict[str, tuple[list[Optional[int]], str]] = {name: ([None, None], "int64") for name in _TEXT_INPUTS}
    return {**text, "region_features": ([None, None, dimension], "float32"), "region_mask": ([None, None], "int64")}


def region_example(number: int, rows: int, vocab_size: int, dimension: int) -> dict[str, np.ndarray]:
    """Return random arrays for `region_inputs`, of another size for each `number`; a multiple of `rows` rows."""
    rng = np.random.default_rng(number)
    batch, words, regions = rows * (number + 1), int(rng.integers(4, 10)), int(rng.integers(2, 8))
    arrays = {
        "input_ids": rng.integers(0, vocab_size, (batch, words)),
        "text_mask": np.ones((batch, words), "int64"),
        "token_type_ids": np.zeros((batch, words), "int64"),
        "region_features": rng.standard_normal((batch, regions, dimension)).astype("float32"),
        "region_mask": np.ones((batch, regions), "int64"),
    }
    arrays["text_mask"][0, -1] = arrays["region_mask"][0, -1] = 0
    return arrays
