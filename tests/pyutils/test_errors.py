from __future__ import annotations

import pytest

from pyutils.errors import InputError, closest, nearest


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize(("typed", "meant"), [("vqa_2", "vqa2"), ("NLVR-2", "nlvr2"), ("nlrv2", "nlvr2")])
def test_nearest_names_what_was_meant(typed, meant):
    assert nearest(typed, ["vqa2", "nlvr2", "vcr"]) == f'did you mean "{meant}"?'


def test_nearest_lists_the_known_names_when_none_is_close():
    assert nearest("xyz", ["b", "a"]) == "known: a, b"
    assert nearest("xyz", []) == "none is known here"
    assert nearest("xyz", [f"name{i:02}" for i in range(20)]).endswith("name11 and 8 more")


def test_closest_is_none_for_strangers():
    assert closest("question", ["lr", "eps"]) is None
