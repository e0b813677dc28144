from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.errors import InputError
from pyutils.metrics.vqa import VERSIONS, best_answers, evaluate_answers, official_score
from tests.support import golden, real_data

CASE = golden("albef/vqa_eval")


def annotations():
    return CASE.json("annotations.json")["annotations"]


def predictions():
    return {entry["question_id"]: entry["answer"] for entry in CASE.json("results.json")}


def test_the_official_evaluation_exactly():
    given = annotations()
    result = evaluate_answers(given, predictions(), 2017)
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
            assert round(100 * official_score(answers, prediction, 2017), 6) == expected["vqaeval_percent"]


def test_equal_entries_leave_each_other_out():
    answers = [{"answer": "yes"}] * 4 + [{"answer": "no"}] * 6
    # Without ids all "yes" entries are one and the same: none of them has another "yes" beside it.
    assert official_score(answers, "yes") == pytest.approx(0.6)
    numbered = [{**entry, "answer_id": number} for number, entry in enumerate(answers)]
    assert official_score(numbered, "yes") == pytest.approx(1.0)


def ten(**counts):
    given = [text for text, count in counts.items() for _ in range(count)]
    return [{"answer": answer, "answer_id": number} for number, answer in enumerate(given)]


@pytest.mark.parametrize(
    ("answers", "prediction", "current", "old"),
    [
        (ten(yes=10), "Yes.", 0.0, 1.0),  # all agree: 2021 compares the strings as they are
        (ten(Yes=10), "Yes", 1.0, 0.0),
        (ten(Yes=10), "yes", 0.0, 0.0),
        (ten(yes=9, no=1), "Yes.", 1.0, 1.0),
        (ten(Two=5, no=5), "2", 1.0, 0.0),  # only 2021 turns the humans' words into digits
        (ten(two=5, no=5), "2", 1.0, 0.0),
        (ten(**{"a dog": 2, "dog": 1, "cat": 7}), "dog", 0.9, 0.3),
        (ten(**{"dog!": 1, "dog": 1, "cat": 8}), "dog", 0.6, 0.3),  # 2017 leaves "dog " with a space
    ],
)
def test_the_two_official_versions_by_hand(answers, prediction, current, old):
    assert official_score(answers, prediction) == official_score(answers, prediction, 2021) == pytest.approx(current)
    assert official_score(answers, prediction, 2017) == pytest.approx(old)


@pytest.mark.parametrize(("version", "accuracy"), [(2017, 96.44), (2021, 96.79)])
def test_both_versions_on_real_questions(version, accuracy):
    """The commonest human answer to 48,061 questions of VQA v2; figures of the official code."""
    path = real_data("vqa2_cut/data/vqa_annotatons_train.gzip")
    given = json.loads(gzip.decompress(path.read_bytes()))["annotations"]
    commonest = {entry["question_id"]: entry["multiple_choice_answer"] for entry in given}
    assert len(given) == 48061 and evaluate_answers(given, commonest, version).overall == accuracy


@pytest.mark.parametrize(
    ("given", "prediction", "expected"),
    [
        (["red"], "red", 1.0),
        (["red"], "Red.", 1.0),
        (["Yes"], "yes", 1.0),
        (["red"], "blue", 0.0),
        (["red", "red"], "red", 1.0),
        (["red", "blue"], "red", (0 + 1 / 3) / 2),
        (["red", "blue", "green"], "red", (0 + 1 / 3 + 1 / 3) / 3),
        (["red", "red", "green"], "red", (1 / 3 + 1 / 3 + 2 / 3) / 3),
        (["red"] * 3, "red", 1.0),
        (["red"] * 4 + ["blue"], "red", 1.0),
        (["two"] * 3 + ["blue"] * 2, "2", (3 * 2 / 3 + 2) / 5),
        (["red"] * 2 + ["blue"] * 10, "red", (2 * 1 / 3 + 10 * 2 / 3) / 12),
    ],
)
def test_other_than_ten_answers(given, prediction, expected):
    answers = [{"answer": answer, "answer_id": 1} for answer in given]
    for version in VERSIONS:
        assert official_score(answers, prediction, version) == pytest.approx(expected)


def test_targets_agree_with_the_metric_for_any_number_of_answers():
    rng = np.random.default_rng(0)
    words = ["red", "blue", "2", "dog", "yes"]
    vocabulary = AnswerVocabulary(words)
    for count in (*range(1, 14), 10, 10, 10):
        given = rng.choice(words, count).tolist()
        answers = [{"answer": answer, "answer_id": number} for number, answer in enumerate(given)]
        target = vocabulary.fill([given])[0]
        np.testing.assert_allclose(target, [official_score(answers, word) for word in words], atol=1e-6)


def test_nothing_to_evaluate():
    with pytest.raises(InputError, match="no annotated question"):
        evaluate_answers([], {})


def test_best_answers_pass_over_unknown():
    scores = np.array([[9.0, 1.0, 2.0], [0.0, 5.0, 5.0]], dtype=np.float32)
    assert best_answers(scores).tolist() == [0, 1] and best_answers(scores, never=0).tolist() == [2, 1]
    assert scores[0, 0] == 9
