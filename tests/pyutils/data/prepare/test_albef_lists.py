"""ALBEF's lists as their users have them, and what is said about broken ones."""

from __future__ import annotations

import json

import pytest

from pyutils.data.annotations import albef, classified, karpathy
from pyutils.errors import InputError


@pytest.fixture
def write(tmp_path):
    def to_file(value, name="list.json"):
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return path

    return to_file


def test_pretraining_takes_one_caption_or_several(write):
    first = write([{"image": "/a/1.jpg", "caption": "One."}])
    second = write([{"image": "2.jpg", "caption": ["Two.", "Zwei."]}], "second.json")
    records = albef.read_pretrain([first, second])
    assert [record.captions for record in records] == [("One.",), ("Two.", "Zwei.")]
    assert records[0].image_id == "/a/1.jpg"


@pytest.mark.parametrize("caption", ["犬", "Собака.", "คน", "कुत्ता", "٣", "7"])
def test_captions_of_every_script_are_read(write, caption):
    (record,) = albef.read_pretrain(write([{"image": "1.jpg", "caption": caption}]))
    assert record.captions == (caption,)


def test_visual_genome_answer_weighs_a_half(write):
    entry = {"question_id": "7", "image": "1.jpg", "question": "Is it?", "answer": "yes", "dataset": "vg"}
    (record,) = albef.read_vqa(write([entry]))
    assert (record.question_id, record.answers, record.weighted_answers()) == (7, ("yes",), {"yes": 0.5})


def test_a_question_to_answer_is_listed_once(write):
    entries = [{"question_id": number, "image": "1.jpg", "question": "Is it?"} for number in (3, 7, 5)]
    first, second = (
        write(entries),
        write([{**entries[0], "question_id": 9}, {**entries[0], "question_id": "7"}], "b.json"),
    )
    assert len(albef.read_vqa_eval(first)) == 3
    assert len(albef.read_vqa([first, second])) == 5
    with pytest.raises(InputError) as caught:
        albef.read_vqa_eval([first, second])
    assert str(caught.value).startswith(f"{second}: entry 1: question_id 7 is already in {first}: entry 1 (1 ids")


def test_lists_of_the_original_lack_what_ours_add(write):
    (pair,) = albef.read_nlvr2(write([{"images": ["a", "b"], "sentence": "s", "label": "False"}]))
    assert (pair.label, pair.identifier) == (False, f"{write([])}: entry 0")
    (expression,) = albef.read_grounding(write([{"image": "a", "text": "t", "ref_id": 3}]))
    assert (expression.box, expression.split, expression.image_id) == (None, "", -1)


_CAPTION = {"image": "a.jpg", "caption": "c", "image_id": 1}
_QUESTION = {"question_id": 1, "image": "a.jpg", "question": "q"}
_PAIR = {"images": ["a", "b"], "sentence": "s", "label": "True"}
_EXPRESSION = {"image": "a", "text": "t", "ref_id": 1}


@pytest.mark.parametrize(
    ("read", "good", "bad", "message"),
    [
        (albef.read_pretrain, _CAPTION, {"image": "a.jpg"}, 'lacks "caption"; found image'),
        (albef.read_pretrain, _CAPTION, {"image": "a", "caption": []}, '"caption" is empty; fill it or take'),
        (albef.read_pretrain, _CAPTION, {"image": "a", "caption": ["x", " "]}, '"caption" is empty'),
        (albef.read_pretrain, _CAPTION, {"image": "a", "caption": ["x", "?!"]}, "no letter or digit: '?!'"),
        (albef.read_pretrain, _CAPTION, {"image": 3, "caption": "x"}, 'expected a string as "image", found 3'),
        (
            albef.read_retrieval_train,
            _CAPTION,
            _CAPTION | {"caption": ["x", "y"]},
            "expected one caption, found 2",
        ),
        (albef.read_retrieval_train, _CAPTION, {"image": "a", "caption": "x"}, 'lacks "image_id"'),
        (albef.read_retrieval_eval, _CAPTION, _CAPTION, "the image a.jpg is listed twice"),
        (albef.read_vqa, _QUESTION, _QUESTION | {"dataset": "vgg"}, "unknown dataset 'vgg': did you mean \"vg\""),
        (albef.read_vqa, _QUESTION, _QUESTION | {"question_id": "x"}, 'expected a whole number as "question_id"'),
        (albef.read_vqa, _QUESTION, _QUESTION | {"answer": []}, '"answer" is empty'),
        (albef.read_nlvr2, _PAIR, _PAIR | {"label": "yes"}, 'expected the label "True" or "False", found \'yes\''),
        (albef.read_nlvr2, _PAIR, _PAIR | {"images": ["a"]}, "expected two image paths"),
        (
            classified.read,
            {"image": "a", "sentence": "s", "label": "neutral"},
            {"image": "a", "sentence": "s", "label": "neutrall"},
            "unknown label 'neutrall': did you mean \"neutral\"",
        ),
        (albef.read_grounding, _EXPRESSION, _EXPRESSION | {"box": [1, 2]}, "expected boxes of x, y, width, height"),
        (albef.read_grounding, _EXPRESSION, "text", "expected an object, found str"),
    ],
)
def test_broken_entry_is_named(write, read, good, bad, message):
    path = write([good, bad])
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: entry 1: ")
    assert message in str(caught.value)


def test_files_that_are_no_lists_are_named(write, tmp_path):
    with pytest.raises(InputError, match="list.json: expected a JSON list of entries, found dict"):
        albef.read_vqa(write({"questions": []}))
    with pytest.raises(InputError, match="not valid JSON at line 1"):
        classified.read(write('[{"image": '))
    with pytest.raises(InputError, match="absent.json: cannot be read: No such file"):
        albef.read_nlvr2(tmp_path / "absent.json")


def test_answer_list(write):
    assert albef.read_answer_list(write(["yes", "no"])) == ("yes", "no")
    for content, message in (
        ({"yes": 1}, "expected a JSON list of answers; make one with"),
        ([], "expected a JSON list of answers"),
        (["yes", ""], 'entry 1: "answer" is empty'),
        (["yes", "no", "yes"], "the answer 'yes' occurs 2 times"),
    ):
        with pytest.raises(InputError, match="list.json: ") as caught:
            albef.read_answer_list(write(content))
        assert message in str(caught.value)


def test_detections(write):
    boxes = albef.read_detections(write({"7": [[1, 2, 3, 4, 0.5], [5, 6, 7, 8]], "8": []}))
    assert boxes[7].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert boxes[8].shape == (0, 4)
    with pytest.raises(InputError, match="expected an object from image id to boxes"):
        albef.read_detections(write({"a": []}))
    with pytest.raises(InputError, match="image 7: expected boxes"):
        albef.read_detections(write({"7": [[1, 2]]}))
    with pytest.raises(InputError, match="expected an object from image id to boxes"):
        albef.read_detections(write([]))


def test_karpathy_splits(write):
    sentences = [{"raw": "A."}]
    images = [
        {"filename": "1.jpg", "filepath": "val2014", "split": "restval", "sentences": sentences, "cocoid": 11},
        {"filename": "2.jpg", "split": "test", "sentences": sentences},
    ]
    path = write({"images": images})
    (rest,) = karpathy.read(path, "train")
    assert (rest.image, rest.image_id, rest.caption_ids) == ("1", 11, ())
    assert karpathy.read_splits(path, paths=True)["train"][0].image == "val2014/1.jpg"
    assert karpathy.read(path, "test")[0].image_id == 1
    with pytest.raises(InputError, match="list.json has no split 'tset': did you mean \"test\""):
        karpathy.read(path, "tset")
    with pytest.raises(InputError, match="entry 0 of images: unknown split 'dev'"):
        karpathy.read(write({"images": [images[1] | {"split": "dev"}]}), "val")
    with pytest.raises(InputError, match="entry 0 of images: expected a list of sentences for 2.jpg"):
        karpathy.read(write({"images": [images[1] | {"sentences": []}]}), "test")
