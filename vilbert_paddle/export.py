"""Export ViLBERT (`python -m pyutils.export`) and run the exported model on images with known regions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from paddle import nn

from pyutils.data.features import RegionFeatures
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.errors import InputError, nearest
from pyutils.export.program import Exportable
from pyutils.export.served import Answer, RunFolder, ServedModel, region_example, region_inputs
from pyutils.formats.atomic import PathLike
from vilbert_paddle.data.regions import held_regions, region_arrays
from vilbert_paddle.data.texts import text_batch
from vilbert_paddle.network.heads import HEADS, VilbertForTasks

_MAX_TEXT, _MAX_REGIONS = 23, 100


class _Head(nn.Layer):
    def __init__(self, model: VilbertForTasks, head: str):
        super().__init__()
        self.model, self.head = model, head

    def forward(self, input_ids, text_mask, token_type_ids, region_features, region_mask, region_boxes, task_ids=None):
        """Return scores as `VilbertForTasks.forward`; each row has a text and its regions."""
        encoder, kind = self.model.encoder, HEADS[self.head]
        words = encoder.begin_text(input_ids, text_mask, token_type_ids, task_ids)
        boxes = encoder.begin_regions(region_features, region_boxes, region_mask, words)
        encoded = encoder.co_attend(words, boxes, text=kind.text, regions=kind.regions)
        return kind.score(self.model, self.model.heads[self.head], encoded)


def exportable(checkpoint: PathLike, head: str) -> Exportable:
    """Prepare the head `head` of the model in a checkpoint folder, an output folder or of a known name.

    Raises:
        InputError: the checkpoint has no such head, or an answer list of another size.
    """
    run = RunFolder(checkpoint)
    model = VilbertForTasks.from_pretrained(checkpoint)
    if head not in model.heads:
        raise InputError(f"{checkpoint}: holds no head {head!r}: {nearest(head, model.heads.keys())}")
    answers = []
    if head == "vqa":
        configured = (run.config.get("vqa") or {}).get("answers")
        answers = [run.answer_list(configured, "answers.txt", model.heads[head].decoder.bias.shape[0])]
    config = model.config
    settings = {
        "max_text": run.limit("max_text", _MAX_TEXT, config.max_positions),
        "max_regions": int((run.config.get("regions") or {}).get("max_regions") or _MAX_REGIONS),
        "region_dim": config.region_dim,
        "task_number": int(run.config.get("task_number") or 0) if config.task_tokens else None,
        "answers": answers[0].name if answers else "",
    }
    inputs = region_inputs(config.region_dim)
    inputs["region_boxes"] = ([None, None, 5], "float32")
    if config.task_tokens:
        inputs["task_ids"] = ([None, 1], "int64")
    rows = 2 if head == "pair" else 1

    def example(number: int) -> dict[str, np.ndarray]:
        arrays = region_example(number, rows, config.vocab_size, config.region_dim)
        rng = np.random.default_rng(number)
        arrays["region_boxes"] = rng.random((*arrays["region_mask"].shape, 5)).astype("float32")
        if config.task_tokens:
            arrays["task_ids"] = rng.integers(0, config.task_tokens, (len(arrays["input_ids"]), 1))
        return arrays

    return Exportable(_Head(model, head), inputs, ["scores"], example, run.files(*answers), settings)


class RegionPredictor(ServedModel):
    """Scores of texts and images with regions in memory, by an exported head: `RegionPredictor("served/refer")`."""

    def scores(self, texts: Sequence[str], regions: Sequence[RegionFeatures]) -> np.ndarray:
        """Return the head's scores, float32, for each text and the image at its position.

        Region 0 is the whole image. For NLVR2 give each sentence twice, with its left and its right image.
        """
        self.check_regions(texts, regions, "texts")
        names = [f"image {number}" for number in range(len(regions))]
        images = held_regions(list(regions), names, self.settings["max_regions"])
        batch = {**text_batch(self.tokenizer, list(texts), self.settings["max_text"]), **region_arrays(images)}
        if self.settings["task_number"] is not None:
            batch["task_ids"] = np.full((len(texts), 1), self.settings["task_number"], np.int64)
        return self.predictor(**batch)["scores"]


class AnsweringPredictor(RegionPredictor):
    """Answers questions with an exported VQA head."""

    read_answers = staticmethod(AnswerVocabulary.load)

    def answer(self, questions: Sequence[str], regions: Sequence[RegionFeatures], top: int = 1) -> list[list[Answer]]:
        """Return the `top` answers to each question with the sigmoid of their scores, as in training."""
        return self.best_answers(self.scores(questions, regions), _sigmoid, top)


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-scores.astype(np.float64)))


# Entry points of `pyproject.toml`.
question_answering = partial(exportable, head="vqa")
reasoning = partial(exportable, head="pair")
entailment = partial(exportable, head="entailment")
retrieval = partial(exportable, head="match")
grounding = partial(exportable, head="region")
