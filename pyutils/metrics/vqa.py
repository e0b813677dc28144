"""VQA accuracy: the official evaluation of answer strings, and the soft-score accuracy of classifier outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from pyutils.errors import InputError
from pyutils.metrics.answer_text import clean_space, normalise_prediction, strip_human_answer

_AGREEING = 3


@dataclass(frozen=True)
class VQAAccuracy:
    """Accuracies in percent, rounded as the official evaluation rounds them.

    `by_question` maps question ids to their accuracy; the other two map a type to the mean over its questions.
    """

    overall: float
    by_question_type: dict[str, float]
    by_answer_type: dict[str, float]
    by_question: dict[int, float]

    def as_metrics(self) -> dict[str, float]:
        """`accuracy` and one `accuracy/<answer type>` each, for logs."""
        by_type = {f"accuracy/{name}": value for name, value in self.by_answer_type.items()}
        return {"accuracy": self.overall, **by_type}


def official_score(answers: Sequence[Mapping[str, Any]], prediction: str) -> float:
    """Accuracy of one prediction, 0 to 1, as the VQA v2 evaluation server scores it.

    `answers` are an annotation's dicts with "answer" and usually "answer_id". For each human answer the prediction is
    right to min(1, n / 3), n being its matches among the others; the mean over the humans counts. Kept as it is there:
    a prediction is always normalised in full, a human answer only loses its punctuation, and only when the humans are
    not all of one opinion; so a human "Yes" never matches a predicted "yes".
    """
    if not answers:
        raise ValueError("official_score needs at least one human answer")
    human = [clean_space(entry["answer"]) for entry in answers]
    predicted = normalise_prediction(prediction)
    if len(set(human)) > 1:
        human = [strip_human_answer(answer) for answer in human]
    entries = [{**entry, "answer": answer} for entry, answer in zip(answers, human)]
    matching = [entry for entry in entries if entry["answer"] == predicted]
    # "The others" are the entries that differ in any field, so two equal entries leave each other out as well.
    shares = [min(1.0, sum(other != entry for other in matching) / _AGREEING) for entry in entries]
    return sum(shares) / len(shares)


def evaluate_answers(
    annotations: Iterable[Mapping[str, Any]], predictions: Mapping[int, str], digits: int = 2
) -> VQAAccuracy:
    """The official evaluation of `predictions` {question id: answer} against the official `annotations`.

    Percentages are rounded to `digits` places. The annotations stay untouched. Raises InputError when a question has no
    prediction or no human answer, a prediction belongs to no question, or there is no question at all.
    """
    scores: dict[int, float] = {}
    types: dict[str, dict[str, list[float]]] = {"question_type": {}, "answer_type": {}}
    for annotation in annotations:
        question = annotation["question_id"]
        if question not in predictions:
            raise InputError(f"no answer for question {question}; the evaluation needs one for each annotated question")
        if not annotation["answers"]:
            raise InputError(
                f"question {question} has no human answers to compare with; leave it out of the evaluation"
            )
        score = official_score(annotation["answers"], predictions[question])
        scores[question] = score
        for field, members in types.items():
            members.setdefault(annotation.get(field, ""), []).append(score)
    if not scores:
        raise InputError("there is no annotated question to evaluate")
    extra = len(predictions) - len(scores)
    if extra:
        unknown = sorted(set(predictions) - set(scores))[:5]
        raise InputError(f"{extra} answers belong to no annotated question, e.g. {unknown}; is it another split?")

    def percent(values: Sequence[float]) -> float:
        return round(100 * float(sum(values)) / len(values), digits)

    return VQAAccuracy(
        overall=percent(list(scores.values())),
        by_question_type={name: percent(values) for name, values in types["question_type"].items()},
        by_answer_type={name: percent(values) for name, values in types["answer_type"].items()},
        by_question={question: round(100 * score, digits) for question, score in scores.items()},
    )


def best_answers(scores: np.ndarray, never: Optional[int] = None) -> np.ndarray:
    """Index of the highest of `scores` [n, answers] in each row, [n] int64; column `never` is passed over.

    Equal scores go to the lowest index.
    """
    scores = np.asarray(scores)
    if never is None:
        return scores.argmax(axis=1)
    masked = scores.astype(np.float64)
    masked[:, never] = -np.inf
    return masked.argmax(axis=1)


def soft_accuracy(scores: np.ndarray, targets: np.ndarray, never: Optional[int] = None) -> np.ndarray:
    """The soft score each row's best answer earns, [n] in the dtype of `targets`; the mean is the accuracy.

    `scores` and `targets` are [n, answers]; column `never` (`<unk>`) cannot be chosen.
    """
    targets = np.asarray(targets)
    if np.shape(scores) != targets.shape or targets.ndim != 2:
        raise ValueError(f"scores {np.shape(scores)} and targets {targets.shape} must both be [n, answers]")
    return np.take_along_axis(targets, best_answers(scores, never)[:, None], axis=1)[:, 0]
