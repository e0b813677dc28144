from __future__ import annotations

import pytest

from pyutils.errors import InputError
from pyutils.text.truncation import truncate, truncate_pair
from tests.support import golden

CASES = golden("visualbert/data_formats").json("expected/truncate.json")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['len_a']}-{case['len_b']}-{case['max_seq_length']}")
def test_the_authors_rule(case):
    first = [f"a{number}" for number in range(case["len_a"])]
    if case["len_b"] is None:
        assert truncate(first, case["max_seq_length"]) == case["text_a"]
        return
    second = [f"b{number}" for number in range(case["len_b"])]
    assert truncate_pair(first, second, case["max_seq_length"], "authors") == (case["text_a"], case["text_b"])


def one_by_one(first, second, room):
    first, second = list(first), list(second)
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()
    return first, second


@pytest.mark.parametrize("room", [1, 2, 5, 8, 9, 13])
def test_longest_first_takes_from_the_longer_end(room):
    for first in range(12):
        for second in range(12):
            a, b = list(range(first)), list(range(100, 100 + second))
            assert truncate_pair(a, b, room + 3) == one_by_one(a, b, room), (first, second)


def test_bad_arguments():
    with pytest.raises(InputError, match="leaves no room"):
        truncate([1, 2], 2)
    with pytest.raises(InputError, match="leaves no room"):
        truncate_pair([1], [2], 3)
    with pytest.raises(InputError, match='did you mean "authors"'):
        truncate_pair([1], [2], 9, "author")
