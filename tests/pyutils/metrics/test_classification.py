from __future__ import annotations

import numpy as np
import pytest

from pyutils.metrics.classification import accuracy, per_class_accuracy
from pyutils.metrics.nlvr2_results import nlvr2_scores
from tests.support import golden

PREDICTED, LABELS = np.array([0, 1, 2, 2, 1]), np.array([0, 1, 1, 2, -1])


def test_accuracy():
    assert accuracy(PREDICTED, LABELS) == pytest.approx(0.6)
    assert accuracy(PREDICTED, LABELS, ignore_index=-1) == pytest.approx(0.75)
    assert accuracy(np.array([1]), np.array([-1]), ignore_index=-1) == 0


def test_per_class():
    found = per_class_accuracy(PREDICTED, LABELS, ["no", "maybe", "yes", "never"])
    assert found == {"no": 1.0, "maybe": 0.5, "yes": 1.0}


def test_nlvr2_equals_the_official_script():
    case = golden("visualbert/data_formats").json("expected/nlvr_metrics.json")
    labels = {example["identifier"]: example["label"] == "True" for example in case["examples"]}
    predicted = {identifier: label == "True" for identifier, label in case["predictions"].items()}
    assert nlvr2_scores(labels, predicted) == (case["accuracy"], case["consistency"])
