from __future__ import annotations

import pytest

from pyutils.text.cleaning import clean_caption, clean_question
from tests.support import golden

CASE = golden("albef/text")


@pytest.mark.parametrize(("given", "expected"), list(zip(CASE.json("inputs.json"), CASE.json("outputs.json"))))
def test_cleaning_equals_the_original(given, expected):
    assert clean_caption(given["text"], given["max_words"]) == expected["pre_caption"]
    assert clean_question(given["text"], given["max_words"]) == expected["pre_question"]


def test_without_a_limit_nothing_is_cut():
    assert clean_caption("A-b. " * 60) == " ".join(["a b"] * 60)
    assert clean_question("What-is it?") == "what is it"
