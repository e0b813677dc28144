"""The leaderboard's file of VCR."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.metrics.vcr_results import COLUMNS, probabilities, write_leaderboard

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


def test_results_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "out.csv"
    with pytest.raises(InputError, match="after each of 4 answers, found 3"):
        write_leaderboard(path, ANSWERS, CONDITIONED[:3])
    less = [*CONDITIONED[:3], {"test-0": [0.0] * 4}]
    with pytest.raises(InputError, match=r"after answer 3 are of other questions than the answers, e\.g\. test-1"):
        write_leaderboard(path, ANSWERS, less)
    for bad in ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0, np.nan]):
        with pytest.raises(InputError, match="test-0: expected 4 finite scores"):
            write_leaderboard(path, {**ANSWERS, "test-0": bad}, CONDITIONED)
    assert not path.exists()


def test_large_scores_stay_finite():
    np.testing.assert_allclose(probabilities([1e5, 1e5, -1e5, 0.0]), [0.5, 0.5, 0, 0])
