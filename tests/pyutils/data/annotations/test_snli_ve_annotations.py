from __future__ import annotations

import json

import pytest

from pyutils.data.annotations import snli_ve
from pyutils.errors import InputError


def line(**changes):
    entry = {
        "gold_label": "neutral",
        "sentence1": "A dog runs.",
        "sentence2": "The dog is happy.",
        "pairID": "1007129816.jpg#0r1n",
        "Flickr30K_ID": "1007129816",
    }
    entry.update(changes)
    return json.dumps({key: value for key, value in entry.items() if value is not None})


def test_lines_become_records(tmp_path):
    path = tmp_path / "snli_ve_dev.jsonl"
    old = line(Flickr30K_ID=None, Flikr30kID="36979.jpg", pairID=None)
    path.write_text("\n".join([line(), line(gold_label="-"), old]))
    first, undecided, other = snli_ve.read(path)
    assert (first.image, first.sentence, first.label) == ("1007129816", "The dog is happy.", "neutral")
    assert first.identifier == "1007129816.jpg#0r1n"
    assert undecided.label is None
    assert (other.image, other.identifier) == ("36979", "3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line(gold_label="contradicton"), 'line 1: unknown gold_label .* did you mean "contradiction"'),
        (line(sentence2=None), 'line 1: lacks "sentence2"'),
        (line(Flickr30K_ID=None), "line 1: lacks"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, message):
    path = tmp_path / "snli_ve_dev.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        snli_ve.read(path)


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "snli_ve_dev.jsonl"
    path.write_bytes(b"\x80\x04\xff")
    with pytest.raises(InputError, match="not a text file"):
        snli_ve.read(path)
