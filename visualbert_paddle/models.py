"""The networks that `from visualbert_paddle import …` offers."""

from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.network.heads import (
    VisualBertForMultipleChoice,
    VisualBertForPhraseGrounding,
    VisualBertForPretraining,
    VisualBertForQuestionAnswering,
    VisualBertForReasoning,
)
from visualbert_paddle.network.retrieval import VisualBertForRetrieval

VisualBertForVQA = VisualBertForQuestionAnswering

__all__ = [
    "VisualBertConfig",
    "VisualBertForMultipleChoice",
    "VisualBertForPhraseGrounding",
    "VisualBertForPretraining",
    "VisualBertForQuestionAnswering",
    "VisualBertForReasoning",
    "VisualBertForRetrieval",
    "VisualBertForVQA",
]
