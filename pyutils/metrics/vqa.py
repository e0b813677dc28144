"""VQA accuracy: the official evaluation of answer strings, and the answers that a classifier's scores choose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import numpy.typing as npt

from pyutils.errors import InputError
from pyutils.metrics.answer_text import clean_space, normalise_prediction, strip_human_answer

VERSIONS = (2021, 2017)
"""Years of the official evaluation code, the current one first."""
CURRENT_VERSION = VERSIONS[0]
EVALUATION_HELP = "Version of the official VQA evaluation: 2021 (current) or 2017 (of most published numbers)."
_AGREEING = 3
_OFFICIAL_ANSWERS = 10


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
        """Return `accuracy` and `accuracy/<answer type>` of each type."""
        by_type = {f"accuracy/{name}": value for name, value in self.by_answer_type.items()}
        return {"accuracy": self.overall, **by_type}


def agreement(matches: npt.ArrayLike, answers: int) -> np.ndarray:
    """Return the score, 0 to 1, of a prediction that `matches` [...] of so many human `answers` give.

    The leave-one-out formula: the mean over the human answers of min(1, matches among the others / 3). Where all human
    answers are equal, one alone included, an exact match scores 1, as it does by the formula from four answers on.
    """
    count = np.asarray(matches, dtype=np.float64)
    own = count * np.minimum(1.0, (count - 1) / _AGREEING)
    others = (answers - count) * np.minimum(1.0, count / _AGREEING)
    return np.where(count == answers, 1.0, (own + others) / max(1, answers))


def official_score(answers: Sequence[Mapping[str, Any]], prediction: str, version: int = CURRENT_VERSION) -> float:
    """Return the accuracy of one prediction, 0 to 1, as the official VQA v2 evaluation scores it.

    `answers`, at least one, are an annotation's dicts with "answer" and usually "answer_id". Ten answers are scored
    exactly as by the official code of `version`, any other number by `agreement` of fully normalised answers.

    Versions, which differ in what is normalised before strings are compared:
        2021 (of March 2021, the current one): prediction and human answers alike, and only if the humans disagree; if
            all agree, the prediction must be spelled as they do.
        2017: a prediction always; a human answer only loses its punctuation, and only if the humans disagree, so that
            a human "Yes" never matches a predicted "yes".
    """
    human = [clean_space(entry["answer"]) for entry in answers]
    if len(answers) != _OFFICIAL_ANSWERS:
        predicted = normalise_prediction(prediction)
        return float(agreement(sum(normalise_prediction(answer) == predicted for answer in human), len(human)))
    disagree = len(set(human)) > 1
    predicted = normalise_prediction(prediction) if disagree or version == 2017 else clean_space(prediction)
    if disagree:
        human = [(strip_human_answer if version == 2017 else normalise_prediction)(answer) for answer in human]
    entries = [{**entry, "answer": answer} for entry, answer in zip(answers, human)]
    matching = [entry for entry in entries if entry["answer"] == predicted]
    # "The others" are the entries that differ in any field, so two equal entries leave each other out as well.
    shares = [min(1.0, sum(other != entry for other in matching) / _AGREEING) for entry in entries]
    return sum(shares) / len(shares)


def evaluate_answers(
    annotations: Iterable[Mapping[str, Any]], predictions: Mapping[int, str], version: int = CURRENT_VERSION
) -> VQAAccuracy:
    """Evaluate `predictions` {question id: answer} against the official `annotations` (`official_score`).

    `predictions` has an answer for every annotated question. Raises InputError when a question has no human answer, or
    there is no question at all.
    """
    scores: dict[int, float] = {}
    types: dict[str, dict[str, list[float]]] = {"question_type": {}, "answer_type": {}}
    for annotation in annotations:
        question = annotation["question_id"]
        if not annotation["answers"]:
            raise InputError(
                f"question {question} has no human answers to compare with; leave it out of the evaluation"
            )
        score = official_score(annotation["answers"], predictions[question], version)
        scores[question] = score
        for field, members in types.items():
            members.setdefault(annotation.get(field, ""), []).append(score)
    if not scores:
        raise InputError("there is no annotated question to evaluate")

    def percent(values: Sequence[float]) -> float:
        return round(100 * float(sum(values)) / len(values), 2)

    return VQAAccuracy(
        overall=percent(list(scores.values())),
        by_question_type={name: percent(values) for name, values in types["question_type"].items()},
        by_answer_type={name: percent(values) for name, values in types["answer_type"].items()},
        by_question={question: round(100 * score, 2) for question, score in scores.items()},
    )


def best_answers(scores: np.ndarray, never: Optional[int] = None) -> np.ndarray:
    """Return the index of the highest of `scores` [n, answers] in each row, [n] int64, never column `never`.

    Of equal scores the lowest index is chosen.
    """
    if never is None:
        return scores.argmax(axis=1)
    masked = scores.astype(np.float64)
    masked[:, never] = -np.inf
    return masked.argmax(axis=1)
