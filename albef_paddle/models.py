"""The networks that `from albef_paddle import …` offers."""

from albef_paddle.config import AlbefConfig
from albef_paddle.network.classification import (
    AlbefForEntailment,
    AlbefForReasoning,
)
from albef_paddle.network.pretraining import AlbefForPretraining
from albef_paddle.network.question_answering import AlbefForQuestionAnswering
from albef_paddle.network.retrieval import AlbefForRetrieval
from albef_paddle.network.text_assignment import AlbefForTextAssignment

AlbefForVQA = AlbefForQuestionAnswering

__all__ = [
    "AlbefConfig",
    "AlbefForEntailment",
    "AlbefForPretraining",
    "AlbefForQuestionAnswering",
    "AlbefForReasoning",
    "AlbefForRetrieval",
    "AlbefForTextAssignment",
    "AlbefForVQA",
]
