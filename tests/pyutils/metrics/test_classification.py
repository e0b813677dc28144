from __future__ import annotations

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.metrics.classification import accuracy, nlvr2_scores, per_class_accuracy
from tests.support import golden

PREDICTED, LABELS = np.array([0, 1, 2, 2, 1]), np.array([0, 1, 1, 2, -1])


def test_accuracy():
    assert accuracy(PREDICTED, LABELS) == pytest.approx(0.6)
    assert accuracy(PREDICTED, LABELS, ignore_index=-1) == pytest.approx(0.75)
    assert accuracy(np.array([1]), np.array([-1]), ignore_index=-1) == 0
    with pytest.raises(ValueError, match=r"must both be \[n\]"):
        accuracy(PREDICTED, LABELS[:2])


def test_per_class():
    found = per_class_accuracy(PREDICTED, LABELS, ["no", "maybe", "yes", "never"], ignore_index=-1)
    assert found == {"no": 1.0, "maybe": 0.5, "yes": 1.0}
    with pytest.raises(ValueError, match="labels range from -1 to 2, but 3 classes"):
        per_class_accuracy(PREDICTED, LABELS, ["no", "maybe", "yes"])


def test_nlvr2_equals_the_official_script():
    case = golden("visualbert/data_formats").json("expected/nlvr_metrics.json")
    labels = {example["identifier"]: example["label"] == "True" for example in case["examples"]}
    predicted = {identifier: label == "True" for identifier, label in case["predictions"].items()}
    assert nlvr2_scores(labels, predicted) == (case["accuracy"], case["consistency"])


def test_nlvr2_bad_input():
    with pytest.raises(InputError, match="empty split"):
        nlvr2_scores({}, {})
    with pytest.raises(InputError, match="for 1 of 2 examples, e.g. dev-1-0-1"):
        nlvr2_scores({"dev-1-0-0": True, "dev-1-0-1": True}, {"dev-1-0-0": True})
    with pytest.raises(InputError, match='"dev-1" is not an NLVR2 identifier'):
        nlvr2_scores({"dev-1": True}, {"dev-1": True})
