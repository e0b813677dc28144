"""VCR's accuracies against the original evaluation script, and the leaderboard's file."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.metrics.vcr import COLUMNS, combine, probabilities, write_leaderboard
from tests.support import golden


@pytest.fixture
def recorded():
    content = json.loads((golden("vilbert/evaluation").folder / "vcr_q_ar.json").read_text())
    labels = {entry["annot_id"]: (entry["answer_label"], entry["rationale_label"]) for entry in content["ground_truth"]}
    results = [
        {f"val-{entry['question_id']}": entry["answer"] for entry in content[name]}
        for name in ("qa_results", "qar_results")
    ]
    return labels, *results, content["metrics"]


def test_combination_equals_the_original(recorded):
    labels, answers, rationales, metrics = recorded
    found = combine(labels, answers, rationales)
    assert [round(value, 6) for value in found] == [
        metrics["Q_A_accuracy"],
        metrics["QA_R_accuracy"],
        metrics["Q_AR_accuracy"],
    ]


def test_order_of_the_results_does_not_matter(recorded):
    labels, answers, rationales, _ = recorded
    turned = dict(reversed(list(rationales.items())))
    assert combine(labels, answers, turned) == combine(labels, answers, rationales)


def test_both_must_be_right():
    chosen = np.eye(4).tolist()
    labels = {"a": (0, 0), "b": (1, 1), "c": (2, 0), "d": (0, 0)}
    found = combine(labels, dict(zip("abcd", chosen)), dict.fromkeys("abcd", chosen[0]))
    assert found == (0.75, 0.75, 0.5)


def test_results_that_do_not_fit_are_refused(recorded):
    labels, answers, rationales, _ = recorded
    del answers["val-3"]
    with pytest.raises(InputError, match="answer.* 1 of 12 questions, e.g. val-3"):
        combine(labels, answers, rationales)
    answers["val-3"] = [0.1, 0.2, 0.7]
    with pytest.raises(InputError, match="val-3: expected 4 numbers"):
        combine(labels, answers, rationales)
    answers["val-3"], rationales["train-0"] = [0.1, 0.2, 0.3, 0.4], [0.0] * 4
    with pytest.raises(InputError, match="rationale.* train-0"):
        combine(labels, answers, rationales)


ANSWERS = {"test-0": [0.0, 1.0, 2.0, 3.0], "test-1": [1000.0, 0.0, 0.0, 0.0]}
CONDITIONED = [{name: [float(number), 0.0, 0.0, 0.0] for name in ANSWERS} for number in range(4)]


def test_columns_and_probabilities(tmp_path):
    with write_leaderboard(tmp_path / "out.csv", ANSWERS, CONDITIONED).open() as stream:
        lines = list(csv.reader(stream))
    assert lines[0] == list(COLUMNS)
    assert len(COLUMNS) == 21
    assert COLUMNS[:2] == ("annot_id", "answer_0")
    assert COLUMNS[4:7] == ("answer_3", "rationale_conditioned_on_a0_0", "rationale_conditioned_on_a0_1")
    assert COLUMNS[-1] == "rationale_conditioned_on_a3_3"
    assert [line[0] for line in lines[1:]] == ["test-0", "test-1"]
    expected = np.exp([0, 1, 2, 3]) / np.exp([0, 1, 2, 3]).sum()
    np.testing.assert_allclose([float(cell) for cell in lines[1][1:5]], expected, atol=1e-6)
    assert float(lines[2][1]) == 1.0
    for number in range(4):
        first = float(lines[1][5 + 4 * number])
        assert first == pytest.approx(np.exp(number) / (np.exp(number) + 3), abs=1e-6)


def test_leaderboard_scores_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "out.csv"
    less = [*CONDITIONED[:3], {"test-0": [0.0] * 4}]
    with pytest.raises(InputError, match=r"after answer 3: .* e\.g\. test-1"):
        write_leaderboard(path, ANSWERS, less)
    for bad in ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0, np.nan]):
        with pytest.raises(InputError, match="test-0: expected 4 finite scores"):
            write_leaderboard(path, {**ANSWERS, "test-0": bad}, CONDITIONED)
    assert not path.exists()


def test_large_scores_stay_finite():
    np.testing.assert_allclose(probabilities([1e5, 1e5, -1e5, 0.0]), [0.5, 0.5, 0, 0])
