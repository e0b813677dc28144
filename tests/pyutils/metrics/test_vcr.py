"""VCR's accuracies against the original evaluation script."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.metrics.vcr import combine, vcr_scores
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
    found = vcr_scores(np.array([0, 1, 2, 3]), np.array([0, 0, 0, 0]), np.array([0, 1, 2, 0]), np.array([0, 1, 0, 0]))
    assert found == (0.75, 0.75, 0.5)


def test_results_that_do_not_fit_are_refused(recorded):
    labels, answers, rationales, _ = recorded
    del answers["val-3"]
    with pytest.raises(InputError, match="no answer scores for 1 of 12 VCR questions, e.g. val-3"):
        combine(labels, answers, rationales)
    answers["val-3"] = [0.1, 0.2, 0.7]
    with pytest.raises(InputError, match="val-3: expected 4 numbers"):
        combine(labels, answers, rationales)
    answers["val-3"], rationales["train-0"] = [0.1, 0.2, 0.3, 0.4], [0.0] * 4
    with pytest.raises(InputError, match="train-0, which is no question"):
        combine(labels, answers, rationales)
    with pytest.raises(InputError, match="empty split"):
        combine({}, {}, {})
    with pytest.raises(ValueError, match="four arrays"):
        vcr_scores(np.zeros(2), np.zeros(3), np.zeros(2), np.zeros(2))
