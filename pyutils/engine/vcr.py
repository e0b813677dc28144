"""VCR with two models: one predicts answers, the other rationales given each of the four answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, cast

from pyutils.config import load_config
from pyutils.console import say
from pyutils.data.annotations.vcr import tagged_text
from pyutils.data.records import TaggedText, VCRRecord
from pyutils.engine.answers import Choices, Example, Words, ranked_choices
from pyutils.engine.evaluation import predict_split
from pyutils.engine.split_task import SplitTask
from pyutils.errors import InputError
from pyutils.metrics.classification import softmax
from pyutils.metrics.predictions import Predictions
from pyutils.metrics.vcr import CHOICES, JointPredictions
from pyutils.weights.checkpoint import CONFIG_FILE, load_weights
from pyutils.weights.places import find_checkpoint

Mode = Literal["answer", "rationale"]
"""`answer`: Q→A; `rationale`: QA→R, given the right answer."""


class VCRSplitTask(SplitTask):
    """VCR task of one model, for Q→A or QA→R. A Q→A model predicts together with a QA→R model, `rationale_checkpoint`.

    `predict` gives `ChoicePredictions`, and `collate` takes the number `given_answer`.
    """

    predict_flags: ClassVar[tuple[str, ...]] = ("rationale_checkpoint",)
    needs_labels: ClassVar[bool] = True

    @abstractmethod
    def data_settings(self) -> dict[str, Any]:
        """Return the settings of the questions and features, for a QA→R model on the data of this task."""

    def predict_with(self, flags: Mapping[str, Any], split: str) -> Predictions:
        """Predict `split`; with `rationale_checkpoint` by both models together."""
        if "rationale_checkpoint" not in flags:
            return super().predict_with(flags, split)
        checkpoint = find_checkpoint(flags["rationale_checkpoint"])
        config: Any = load_config(self.config_class, checkpoint / CONFIG_FILE)
        own: Any = self.config
        if (own.mode, config.mode) != ("answer", "rationale"):
            raise InputError(
                f"{checkpoint}: --checkpoint must be trained for Q→A and --rationale_checkpoint for QA→R; found "
                f"mode {own.mode} and {config.mode}"
            )
        other = type(self)(replace(config, **self.data_settings()))  # type: ignore[call-arg]
        say(str(load_weights(other.model, checkpoint)))
        return joint_predictions(self, other, split)

    def choose(self, examples: Sequence[Example], top: int = CHOICES) -> list[Choices]:
        """Rank the four `choices` of each example's `question`; a QA→R model also reads its `answer`."""
        mode = cast(Any, self.config).mode
        rationales = mode == "rationale"
        scores = self.scores_of([_question(example, rationales) for example in examples])
        texts = [[_written(choice, example.object_names) for choice in example.choices] for example in examples]
        return [ranked_choices(names, softmax(own), mode) for names, own in zip(texts, scores)]

    pipelines = {"visual-commonsense": choose}


def _question(example: Example, rationales: bool) -> VCRRecord:
    """The record of an example. Raises InputError for other than four choices, or words of another form."""
    if len(example.choices) != CHOICES:
        raise InputError(f"visual-commonsense: expected {CHOICES} choices, found {len(example.choices)}")
    if rationales and not example.answer:
        raise InputError("visual-commonsense: a model for QA→R chooses the rationale of an answer; give answer=")

    def tagged(words: Words, where: str) -> TaggedText:
        listed = words.split() if isinstance(words, str) else list(words)
        return tagged_text(listed, len(example.object_names), f"visual-commonsense, {where}")

    choices = tuple(tagged(choice, f"choice {number}") for number, choice in enumerate(example.choices))
    answers = (tagged(example.answer, "answer"),) * CHOICES if rationales else choices
    return VCRRecord(
        "",
        example.images[0],
        tagged(example.question, "question"),
        answers,
        choices,
        0 if rationales else None,
        None,
        example.object_names,
        example.object_boxes or ((0.0, 0.0, 0.0, 0.0),) * len(example.object_names),
    )


def _written(words: Words, names: Sequence[str]) -> str:
    """Write a choice with the names of its objects."""
    if isinstance(words, str):
        return words
    return " ".join(word if isinstance(word, str) else ", ".join(names[n] for n in word) for word in words)


def joint_predictions(answers: SplitTask, rationales: Any, split: str) -> JointPredictions:
    """Return the predictions of the Q→A task `answers` and the QA→R task `rationales` for `split`.

    Both predict `ChoicePredictions`; `rationales.collate` takes the number `given_answer`.
    """
    settings = rationales.config.train
    collates = [partial(rationales.collate, given_answer=number) for number in range(CHOICES)]
    conditioned = [predict_split(rationales, settings, split, collate).scores for collate in collates]
    labels = {record.annot_id: record.rationale_label for record in answers.records(split)}
    return JointPredictions(predict_split(answers, answers.config.train, split), conditioned, labels)
