from __future__ import annotations

import pytest

from pyutils.metrics.answer_text import (
    clean_space,
    normalise_answer,
    normalise_prediction,
    normalise_words,
    strip_punctuation,
)
from tests.support import golden

CASES = golden("visualbert/vqa_answers").json("normalise.json")


@pytest.mark.parametrize("case", CASES, ids=[str(number) for number in range(len(CASES))])
def test_every_step_equals_the_originals(case):
    text = case["in"]
    assert normalise_answer(text) == case["mmf_evalai"]
    assert strip_punctuation(clean_space(text)) == case["vqaeval_punctuation"]
    assert normalise_prediction(text) == case["vqaeval"]
    assert normalise_words(text) == case["vqaeval_digit_article_only"]


def test_the_steps_recorded_with_the_evaluation():
    for text, expected in golden("albef/vqa_eval").json("outputs.json")["processed"].items():
        assert strip_punctuation(text) == expected["punctuation"]
        assert normalise_words(strip_punctuation(text)) == expected["both"]


def test_only_thirty_two_full_stops_go():
    assert strip_punctuation("." * 40) == "." * 8


def test_contractions():
    assert normalise_words("couldnt've couldn'tve yall'd've y'alld've hes she's") == (
        "couldn't've couldn't've y'all'd've y'all'd've he's she's"
    )
