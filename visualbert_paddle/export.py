"""Export VisualBERT (`python -m pyutils.export`) and answer questions with the exported model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import nn

from pyutils.data.features import RegionFeatures
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.export.program import Exportable
from pyutils.export.served import Answer, RunFolder, ServedModel, region_example, region_inputs
from pyutils.formats.atomic import PathLike
from pyutils.metrics.classification import softmax
from pyutils.text import sequences
from visualbert_paddle.network.heads import VisualBertForQuestionAnswering

_MAX_TEXT = 128


class _QuestionAnswering(nn.Layer):
    """The model with positional inputs. Positions are counted here, because the text length is not known in advance."""

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
    """Prepare the VQA model of a checkpoint folder (with `vocab.txt` and its answer list), an output folder or a name.

    Raises:
        InputError: the checkpoint is not a VQA model, or its answer list is of another size.
    """
    run = RunFolder(checkpoint)
    model = VisualBertForQuestionAnswering.from_pretrained(checkpoint)
    configured = (run.config.get("vqa") or {}).get("answers")
    answers = run.answer_list(configured, "answers.txt", model.classifier.weight.shape[-1])
    config = model.config
    inputs = region_inputs(config.visual_dim)
    inputs["region_token_type_ids"] = ([None, None], "int64")

    def example(number: int) -> dict[str, np.ndarray]:
        arrays = region_example(number, 1, config.vocab_size, config.visual_dim)
        return {**arrays, "region_token_type_ids": np.full_like(arrays["region_mask"], config.region_token_type)}

    settings = {
        "max_text": run.limit("max_text", _MAX_TEXT, config.max_positions),
        "region_token_type": config.region_token_type,
        "visual_dim": config.visual_dim,
        "answers": answers.name,
    }
    return Exportable(_QuestionAnswering(model), inputs, ["scores"], example, run.files(answers), settings)


class AnsweringPredictor(ServedModel):
    """Answers questions with an exported model: `AnsweringPredictor("served/vqa2")`."""

    read_answers = staticmethod(AnswerVocabulary.load)

    def answer(self, questions: Sequence[str], regions: Sequence[RegionFeatures], top: int = 1) -> list[list[Answer]]:
        """Return the `top` answers to each question about the image whose regions are at its position."""
        self.check_regions(questions, regions, "questions")
        texts = [sequences.question(self.tokenizer, question, self.settings["max_text"]) for question in questions]
        longest = max(len(image) for image in regions)
        features = np.zeros((len(regions), longest, self.settings["visual_dim"]), "float32")
        mask = np.zeros((len(regions), longest), "int64")
        for row, image in enumerate(regions):
            features[row, : len(image)], mask[row, : len(image)] = image.features, 1
        found = self.predictor(
            **sequences.batch(texts, self.tokenizer.pad),
            region_features=features,
            region_mask=mask,
            region_token_type_ids=np.full_like(mask, self.settings["region_token_type"]),
        )
        return self.best_answers(found["scores"], softmax, top)
