"""VisualBERT for serving: what `python -m pyutils.export` writes, and answering questions with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import nn

from pyutils.data.features import RegionFeatures
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.errors import InputError
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
from pyutils.metrics.classification import softmax
from pyutils.text import sequences
from pyutils.text.tokenizer import WordPiece
from visualbert_paddle.network.heads import VisualBertForQuestionAnswering

ANSWERS = "answers.txt"
_TEXT_INPUTS = ("input_ids", "text_mask", "token_type_ids")
_MAX_TEXT = 128


class _QuestionAnswering(nn.Layer):
    """The model with inputs in order. Positions are counted here: the length of the text is not known in advance."""

    def __init__(self, model: VisualBertForQuestionAnswering):
        super().__init__()
        self.model = model

    def forward(self, input_ids, text_mask, token_type_ids, region_features, region_mask, region_token_type_ids):
        """Scores `[batch, answers]`; inputs as in `VisualBert.embed`."""
        return self.model(
            text_mask=text_mask,
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            position_ids=paddle.cumsum(paddle.ones_like(input_ids), axis=1) - 1,
            region_features=region_features,
            region_mask=region_mask,
            region_token_type_ids=region_token_type_ids,
        )


def question_answering(checkpoint: PathLike) -> Exportable:
    """The VQA model of a checkpoint folder (with `vocab.txt` and its answer list), an output folder or a known name.

    InputError when the checkpoint is no such model, or the list of another one.
    """
    folder = checkpoint_folder(checkpoint)
    run = run_settings(folder)
    answers = beside(folder, (run.get("vqa") or {}).get("answers"), ANSWERS)
    model = VisualBertForQuestionAnswering.from_pretrained(checkpoint)
    check_answers(answers, model.classifier.weight.shape[-1])
    config = model.own_config()
    inputs = {name: ([None, None], "int64") for name in (*_TEXT_INPUTS, "region_mask", "region_token_type_ids")}
    inputs["region_features"] = ([None, None, config.visual_dim], "float32")
    order = (*_TEXT_INPUTS, "region_features", "region_mask", "region_token_type_ids")

    def example(number: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(number)
        batch, words, regions = number + 1, int(rng.integers(4, 12)), int(rng.integers(2, 8))
        arrays = {name: np.ones((batch, words), "int64") for name in _TEXT_INPUTS}
        arrays["input_ids"] = rng.integers(0, config.vocab_size, (batch, words))
        arrays["text_mask"][0, words - 1 :] = 0
        arrays["token_type_ids"][:] = 0
        arrays["region_features"] = rng.standard_normal((batch, regions, config.visual_dim)).astype("float32")
        arrays["region_mask"] = (rng.random((batch, regions)) < 0.8).astype("int64")
        arrays["region_token_type_ids"] = np.full((batch, regions), config.region_token_type)
        return arrays

    settings = {
        "max_text": min(int(run.get("max_text", _MAX_TEXT)), config.max_positions),
        "region_token_type": config.region_token_type,
        "visual_dim": config.visual_dim,
        "answers": answers.name,
    }
    files = [path for path in (folder / VOCABULARY, answers) if path.is_file()]
    return Exportable(
        _QuestionAnswering(model), {name: inputs[name] for name in order}, ["scores"], example, files, settings
    )


class AnsweringPredictor:
    """Answers questions with an exported model: `AnsweringPredictor("served/vqa2")`.

    `options` are those of `pyutils.export.Predictor`. InputError when the folder lacks the vocabulary or the answers.
    """

    def __init__(self, folder: PathLike, **options) -> None:
        self.predictor = Predictor(folder, **options)
        answers = self.predictor.settings["answers"]
        folder = required(folder, [VOCABULARY, answers])
        self.tokenizer = WordPiece(folder / VOCABULARY)
        self.answers = AnswerVocabulary.load(folder / answers)

    def answer(self, questions: Sequence[str], regions: Sequence[RegionFeatures], top: int = 1) -> list[list[Answer]]:
        """The `top` answers to each question about the picture whose regions stand at the same place in `regions`."""
        paired(questions, regions, "questions")
        scores = self.predictor(**self._inputs(questions, regions))["scores"]
        if self.answers.unknown is not None:
            scores[:, self.answers.unknown] = -np.inf
        return ranked(softmax(scores), self.answers, top)

    def _inputs(self, questions: Sequence[str], regions: Sequence[RegionFeatures]) -> dict[str, np.ndarray]:
        settings = self.predictor.settings
        texts = [sequences.question(self.tokenizer, question, settings["max_text"]) for question in questions]
        batch = sequences.batch(texts, self.tokenizer.pad)
        longest = max(len(picture) for picture in regions)
        features = np.zeros((len(regions), longest, settings["visual_dim"]), "float32")
        mask = np.zeros((len(regions), longest), "int64")
        for row, picture in enumerate(regions):
            if picture.features.shape[1] != settings["visual_dim"]:
                raise InputError(
                    f"expected {settings['visual_dim']}-d regions, picture {row} has {picture.features.shape[1]}-d ones"
                )
            features[row, : len(picture)], mask[row, : len(picture)] = picture.features, 1
        kinds = np.full_like(mask, settings["region_token_type"])
        return {**batch, "region_features": features, "region_mask": mask, "region_token_type_ids": kinds}
