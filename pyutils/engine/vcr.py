"""VCR with two models: one predicts answers, the other rationales given each of the four answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

from pyutils.config import load_config
from pyutils.console import say
from pyutils.engine.evaluation import predict_split
from pyutils.engine.split_task import SplitTask
from pyutils.errors import InputError
from pyutils.metrics.predictions import Predictions
from pyutils.metrics.vcr import CHOICES, JointPredictions
from pyutils.weights.checkpoint import CONFIG_FILE, load_weights
from pyutils.weights.places import find_checkpoint

Asked = Literal["answer", "rationale"]


class VCRSplitTask(SplitTask):
    """VCR task of one model, for Q→A or QA→R. A Q→A model predicts together with a QA→R model, `rationale_checkpoint`.

    `predict` gives `ChoicePredictions`, and `collate` takes the number `given_answer`.
    """

    predict_flags: ClassVar[tuple[str, ...]] = ("rationale_checkpoint",)
    needs_labels: ClassVar[bool] = True

    @staticmethod
    @abstractmethod
    def asked_by(config: Any) -> Asked:
        """Return what a model of this configuration chooses."""

    @abstractmethod
    def data_settings(self) -> dict[str, Any]:
        """Return the settings of the questions and features, for a QA→R model on the data of this task."""

    def predict_with(self, flags: Mapping[str, Any], split: str) -> Predictions:
        """Predict `split`; with `rationale_checkpoint` by both models together."""
        if "rationale_checkpoint" not in flags:
            return super().predict_with(flags, split)
        checkpoint = find_checkpoint(flags["rationale_checkpoint"])
        config: Any = load_config(self.config_class, checkpoint / CONFIG_FILE)
        if (self.asked_by(self.config), self.asked_by(config)) != ("answer", "rationale"):
            raise InputError(
                f"{checkpoint}: --checkpoint must be trained for Q→A and --rationale_checkpoint for QA→R; found "
                f"{self.asked_by(self.config)} and {self.asked_by(config)}"
            )
        other = type(self)(replace(config, **self.data_settings()))  # type: ignore[call-arg]
        say(str(load_weights(other.model, checkpoint)))
        return joint_predictions(self, other, split)


def joint_predictions(answers: SplitTask, rationales: Any, split: str) -> JointPredictions:
    """Return the predictions of the Q→A task `answers` and the QA→R task `rationales` for `split`.

    Both predict `ChoicePredictions`; `rationales.collate` takes the number `given_answer`.
    """
    settings = rationales.config.train
    collates = [partial(rationales.collate, given_answer=number) for number in range(CHOICES)]
    conditioned = [predict_split(rationales, settings, split, collate).scores for collate in collates]
    labels = {record.annot_id: record.rationale_label for record in answers.records(split)}
    return JointPredictions(predict_split(answers, answers.config.train, split), conditioned, labels)
