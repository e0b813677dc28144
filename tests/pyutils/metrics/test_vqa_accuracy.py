from __future__ import annotations

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.metrics.vqa import best_answers, evaluate_answers, official_score
from tests.support import golden

CASE = golden("albef/vqa_eval")


def annotations():
    return CASE.json("annotations.json")["annotations"]


def predictions():
    return {entry["question_id"]: entry["answer"] for entry in CASE.json("results.json")}


def test_the_official_evaluation_exactly():
    given = annotations()
    result = evaluate_answers(given, predictions())
    expected = CASE.json("outputs.json")
    assert result.overall == expected["accuracy"]["overall"]
    assert result.by_question_type == expected["accuracy"]["perQuestionType"]
    assert result.by_answer_type == expected["accuracy"]["perAnswerType"]
    assert {str(key): value for key, value in result.by_question.items()} == expected["evalQA"]
    assert given == annotations(), "the annotations were changed"
    assert result.as_metrics()["accuracy/number"] == expected["accuracy"]["perAnswerType"]["number"]


def test_single_scores_equal_the_recorded_ones():
    for case in golden("visualbert/vqa_answers").json("soft_scores.json"):
        answers = [{"answer": answer, "answer_id": number} for number, answer in enumerate(case["answers"])]
        for prediction, expected in case["predictions"].items():
            assert round(100 * official_score(answers, prediction), 6) == expected["vqaeval_percent"]


def test_equal_entries_leave_each_other_out():
    answers = [{"answer": "yes"}] * 4 + [{"answer": "no"}] * 6
    # Without ids all "yes" entries are one and the same: none of them has another "yes" beside it.
    assert official_score(answers, "yes") == pytest.approx(0.6)
    numbered = [{**entry, "answer_id": number} for number, entry in enumerate(answers)]
    assert official_score(numbered, "yes") == pytest.approx(1.0)


def test_nothing_to_evaluate():
    with pytest.raises(InputError, match="no annotated question"):
        evaluate_answers([], {})


def test_best_answers_pass_over_unknown():
    scores = np.array([[9.0, 1.0, 2.0], [0.0, 5.0, 5.0]], dtype=np.float32)
    assert best_answers(scores).tolist() == [0, 1] and best_answers(scores, never=0).tolist() == [2, 1]
    assert scores[0, 0] == 9
