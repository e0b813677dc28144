"""VCR with two models: one predicts answers, the other rationales given each of the four answers."""

from __future__ import annotations

from functools import partial
from typing import Any

from pyutils.engine.evaluation import predict_split
from pyutils.engine.split_task import SplitTask
from pyutils.metrics.vcr import CHOICES
from pyutils.metrics.vcr_results import JointPredictions


def joint_predictions(answers: SplitTask, rationales: Any, split: str) -> JointPredictions:
    """Return the predictions of the Q→A task `answers` and the QA→R task `rationales` for `split`.

    Both predict `ChoicePredictions`; `rationales.collate` takes the number `given_answer`.
    """
    settings = rationales.config.train
    collates = [partial(rationales.collate, given_answer=number) for number in range(CHOICES)]
    conditioned = [predict_split(rationales, settings, split, collate).scores for collate in collates]
    labels = {record.annot_id: record.rationale_label for record in answers.records(split)}
    return JointPredictions(predict_split(answers, answers.config.train, split), conditioned, labels)
