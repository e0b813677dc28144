"""Metrics of classes: against counts over all pairs, and recorded by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pyutils.metrics.classification import auroc
from pyutils.metrics.entailment_results import EntailmentPredictions


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_auroc_is_the_share_of_pairs_in_the_right_order(levels):
    rng = np.random.default_rng(levels)
    scores = rng.integers(levels, size=80) / levels
    positive = rng.random(80) < 0.3
    pairs = scores[positive][:, None] - scores[~positive][None]
    assert auroc(scores, positive) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_two_classes(tmp_path):
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.5, 0.5]])
    predictions = EntailmentPredictions("abcde", scores, ["0", "1", "1", "0", None], ["0", "1"])
    metrics = predictions.metrics()
    assert metrics == pytest.approx({"accuracy": 50, "auroc": 75, "accuracy/0": 50, "accuracy/1": 50})
    (path,) = predictions.write(tmp_path)
    rows = json.loads(path.read_text())
    assert rows[2] == {"pairID": "c", "label": "1", "probabilities": {"0": 0.2, "1": 0.8}}
    assert len(rows) == 5
    assert "auroc" not in EntailmentPredictions("ab", scores[:2], ["0", "0"], ["0", "1"]).metrics()
    assert EntailmentPredictions("ab", scores[:2], [None, None], ["0", "1"]).metrics() == {}
