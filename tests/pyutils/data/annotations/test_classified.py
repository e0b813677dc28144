from __future__ import annotations

import json

import pytest

from pyutils.data.annotations import classified
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
    first, undecided, other = classified.read(path)
    assert (first.image, first.sentence, first.label) == ("1007129816", "The dog is happy.", "neutral")
    assert first.identifier == "1007129816.jpg#0r1n"
    assert undecided.label is None
    assert (other.image, other.identifier) == ("36979", "snli_ve_dev.jsonl: line 3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line(gold_label="contradicton"), 'line 1: unknown gold_label .* did you mean "contradiction"'),
        (line(sentence2=None), "line 1: lacks sentence or text or sentence2"),
        (line(Flickr30K_ID=None), "line 1: lacks image or img or Flickr30K_ID"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, message):
    path = tmp_path / "snli_ve_dev.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        classified.read(path)


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "snli_ve_dev.jsonl"
    path.write_bytes(b"\x80\x04\xff")
    with pytest.raises(InputError, match="not a text file"):
        classified.read(path)


MEMES = [
    {"id": 42953, "img": "img/42953.png", "label": 0, "text": "its their character"},
    {"id": "01235", "img": "img/01235.png", "label": 1, "text": "a cat"},
    {"id": 16395, "img": "img/16395.png", "text": "no label"},
]


@pytest.mark.parametrize("lines", [True, False])
def test_own_classes_in_the_form_of_hateful_memes(tmp_path, lines):
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, MEMES)) if lines else json.dumps(MEMES))
    records = classified.read(path, ["0", "1"], image_paths=True)
    assert [(r.image, r.sentence, r.label, r.identifier) for r in records] == [
        ("img/42953.png", "its their character", "0", "42953"),
        ("img/01235.png", "a cat", "1", "01235"),
        ("img/16395.png", "no label", None, "16395"),
    ]
    assert [r.image for r in classified.read([path, path], ["0", "1"])] == 2 * ["img/42953", "img/01235", "img/16395"]
    with pytest.raises(InputError, match=r"(line 1|entry 0): unknown label '0'.*entailment"):
        classified.read(path)


def test_training_needs_labels_and_counts_what_has_none(tmp_path, capfd):
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, MEMES)))
    records = classified.read(path, ["0", "1"])
    assert classified.trainable(records, "train").column("label").tolist() == ["0", "1"]
    assert "1 of 3 examples have no label and are left out" in capfd.readouterr().err
    with pytest.raises(InputError, match="'train'.*none of its 1 examples has a label"):
        classified.trainable(records[2:], "train")


@pytest.mark.parametrize("classes", [["one"], ["a", "a"], []])
def test_classes_are_two_or_more_and_different(classes):
    with pytest.raises(InputError, match="classes: expected two or more different names"):
        classified.check_classes(classes)
