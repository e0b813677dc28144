"""VCR with two models: answers from one, rationales after each of the four answers from the other."""

from __future__ import annotations

from functools import partial
from typing import Any

from pyutils.engine.evaluation import predict_split
from pyutils.engine.split_task import SplitTask
from pyutils.metrics.vcr import CHOICES, JointPredictions


def joint_predictions(answers: SplitTask, rationales: Any, split: str) -> JointPredictions:
    """Predictions of the Q→A task `answers` and the QA→R task `rationales` for `split`.

    `predict` of both gives `ChoicePredictions`; `collate` of `rationales` takes the number `given_answer`.
    """
    settings = rationales.config.train
    collates = [partial(rationales.collate, given_answer=number) for number in range(CHOICES)]
    conditioned = [predict_split(rationales, settings, split, collate).scores for collate in collates]
    labels = {record.annot_id: record.rationale_label for record in answers.records(split)}
    return JointPredictions(predict_split(answers, answers.config.train, split), conditioned, labels)
