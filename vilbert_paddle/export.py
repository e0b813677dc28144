"""ViLBERT for serving: what `python -m pyutils.export` writes, and asking it about pictures whose regions are known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from paddle import nn

from pyutils.data.features import RegionFeatures
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.errors import InputError, nearest
from pyutils.export import Exportable, Predictor
from pyutils.export.folders import (
    VOCABULARY,
    Answer,
    beside,
    check_answers,
    checkpoint_folder,
    paired,
    ranked,
    required,
    run_settings,
)
from pyutils.formats.atomic import PathLike
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.config import VilbertConfig
from vilbert_paddle.data.regions import held_regions, region_arrays
from vilbert_paddle.data.texts import text_batch
from vilbert_paddle.network.heads import HEADS, VilbertForTasks

SERVED = ("vqa", "pair", "entailment", "match", "region")
"""Heads that can be exported."""
ANSWERS = "answers.txt"
_MAX_TEXT, _MAX_REGIONS = 23, 100


class _Head(nn.Layer):
    def __init__(self, model: VilbertForTasks, head: str):
        super().__init__()
        self.model, self.head = model, head

    def forward(self, input_ids, text_mask, token_type_ids, region_features, region_mask, region_boxes, task_ids=None):
        """Scores as in `VilbertForTasks.forward`, rows of words and regions belonging together."""
        encoder, kind = self.model.encoder, HEADS[self.head]
        words = encoder.begin_text(input_ids, text_mask, token_type_ids, task_ids)
        boxes = encoder.begin_regions(region_features, region_boxes, region_mask, words)
        encoded = encoder.co_attend(words, boxes, text=kind.text, regions=kind.regions)
        return kind.score(self.model, self.model.heads[self.head], encoded)


def exportable(checkpoint: PathLike, head: str) -> Exportable:
    """The head `head` (one of `SERVED`) of the model in a checkpoint folder, an output folder or of a known name.

    InputError when the checkpoint has no such head, or an answer list of another size.
    """
    folder = checkpoint_folder(checkpoint)
    run = run_settings(folder)
    answers = beside(folder, (run.get("vqa") or {}).get("answers"), ANSWERS)
    model = _model(checkpoint, head)
    if head == "vqa":
        check_answers(answers, model.heads[head].decoder.bias.shape[0])
    config = model.own_config()
    settings = {
        "max_text": min(int(run.get("max_text", _MAX_TEXT)), config.max_positions),
        "max_regions": int((run.get("regions") or {}).get("max_regions") or _MAX_REGIONS),
        "region_dim": config.region_dim,
        "task_number": int(run.get("task_number") or 0) if config.task_tokens else None,
        "answers": answers.name if head == "vqa" else "",
    }
    files = [path for path in (folder / VOCABULARY, *([answers] if head == "vqa" else [])) if path.is_file()]
    rows = 2 if head == "pair" else 1

    def example(number: int) -> dict[str, np.ndarray]:
        return _example(config, number, rows)

    return Exportable(_Head(model, head), _inputs(config), ["scores"], example, files, settings)


def _model(checkpoint: PathLike, head: str) -> VilbertForTasks:
    model = VilbertForTasks.from_pretrained(checkpoint)
    if head not in model.heads:
        raise InputError(f"{checkpoint}: holds no head {head!r}: {nearest(head, model.heads.keys())}")
    return model


def _inputs(config: VilbertConfig) -> dict[str, tuple[list[int | None], str]]:
    words: dict[str, Any] = {name: ([None, None], "int64") for name in ("input_ids", "text_mask", "token_type_ids")}
    regions: dict[str, Any] = {
        "region_features": ([None, None, config.region_dim], "float32"),
        "region_mask": ([None, None], "int64"),
        "region_boxes": ([None, None, 5], "float32"),
    }
    tasks: dict[str, Any] = {"task_ids": ([None, 1], "int64")} if config.task_tokens else {}
    return {**words, **regions, **tasks}


def _example(config: VilbertConfig, number: int, rows: int) -> dict[str, np.ndarray]:
    """Made-up inputs of another size for each `number`; a multiple of `rows` rows."""
    rng = np.random.default_rng(number)
    batch, words, regions = rows * (number + 1), int(rng.integers(4, 10)), int(rng.integers(2, 8))
    arrays = {
        "input_ids": rng.integers(0, config.vocab_size, (batch, words)),
        "text_mask": np.ones((batch, words), "int64"),
        "token_type_ids": np.zeros((batch, words), "int64"),
        "region_features": rng.standard_normal((batch, regions, config.region_dim)).astype("float32"),
        "region_mask": np.ones((batch, regions), "int64"),
        "region_boxes": rng.random((batch, regions, 5)).astype("float32"),
    }
    arrays["text_mask"][0, -1] = arrays["region_mask"][0, -1] = 0
    if config.task_tokens:
        arrays["task_ids"] = rng.integers(0, config.task_tokens, (batch, 1))
    return arrays


class RegionPredictor:
    """Scores of texts and pictures whose regions are in memory, by an exported head: `RegionPredictor("served/refer")`.

    `options` are those of `pyutils.export.Predictor`. InputError when the folder lacks the vocabulary.
    """

    def __init__(self, folder: PathLike, **options) -> None:
        self.predictor = Predictor(folder, **options)
        self.folder = required(folder, [VOCABULARY])
        self.tokenizer = WordPiece(self.folder / VOCABULARY)

    def scores(self, texts: Sequence[str], pictures: Sequence[RegionFeatures]) -> np.ndarray:
        """The head's scores, float32; row 0 of regions is the whole picture. Texts and pictures belong together by
        place (for NLVR2 give a sentence twice, with its left and its right picture)."""
        paired(texts, pictures, "texts")
        settings = self.predictor.settings
        for number, picture in enumerate(pictures):
            if picture.features.shape[1] != settings["region_dim"]:
                raise InputError(
                    f"expected {settings['region_dim']}-d regions, picture {number} has "
                    f"{picture.features.shape[1]}-d ones"
                )
        names = [f"picture {number}" for number in range(len(pictures))]
        regions = held_regions(list(pictures), names, settings["max_regions"])
        batch = {**text_batch(self.tokenizer, list(texts), settings["max_text"]), **region_arrays(regions)}
        if settings["task_number"] is not None:
            batch["task_ids"] = np.full((len(texts), 1), settings["task_number"], np.int64)
        return self.predictor(**batch)["scores"]


class AnsweringPredictor(RegionPredictor):
    """Answers questions with an exported VQA head."""

    def __init__(self, folder: PathLike, **options) -> None:
        super().__init__(folder, **options)
        required(folder, [self.predictor.settings["answers"]])
        self.answers = AnswerVocabulary.load(self.folder / self.predictor.settings["answers"])

    def answer(self, questions: Sequence[str], regions: Sequence[RegionFeatures], top: int = 1) -> list[list[Answer]]:
        """The `top` answers to each question and their probabilities, the sigmoid of their scores as in training."""
        shares = 1.0 / (1.0 + np.exp(-self.scores(questions, regions).astype(np.float64)))
        if self.answers.unknown is not None:
            shares[:, self.answers.unknown] = 0.0
        return ranked(shares, self.answers, top)


# What `pyproject.toml` announces.
question_answering = partial(exportable, head="vqa")
reasoning = partial(exportable, head="pair")
entailment = partial(exportable, head="entailment")
retrieval = partial(exportable, head="match")
grounding = partial(exportable, head="region")
