"""The answers of the original REFER class on its recorded data, and the same data under our own names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.refer import REFER, Refer
from tests.support import golden

CASE = golden("vilbert/refer_api").json("refer_api.json")
ROOT = golden("vilbert/refer_dataset").folder / "dataroot"
CALLS = {
    "getRefIds": {
        "all": {},
        "cat_ids=1": {"cat_ids": 1},
        "cat_ids=1,split=train": {"cat_ids": [1], "split": "train"},
        "cat_ids=18": {"cat_ids": [18]},
        "cat_ids=44": {"cat_ids": [44]},
        "cat_ids=62": {"cat_ids": [62]},
        "ref_ids=44": {"ref_ids": 44},
        "ref_ids=[28, 55]": {"ref_ids": [28, 55]},
        **{f"split={name}": {"split": name} for name in ("test", "testA", "testAB", "testB", "testC", "train", "val")},
    },
    "getAnnIds": {
        "all": {},
        "cat_ids=1": {"cat_ids": [1]},
        "image_ids=115": {"image_ids": 115},
        "image_ids=[319, 209]": {"image_ids": [319, 209]},
        "ref_ids=26": {"ref_ids": [26]},
    },
    "getImgIds": {"all": {}, "ref_ids=[26, 55, 44]": {"ref_ids": [26, 55, 44]}},
}


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> REFER:
    return REFER(ROOT, "refcoco+", "unc", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def refer(tmp_path_factory) -> Refer:
    return Refer(ROOT, "refcoco+", cache=tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("method, name", [(method, name) for method, names in CALLS.items() for name in names])
def test_queries(original, method, name):
    assert getattr(original, method)(**CALLS[method][name]) == CASE[method][name]


def test_every_recorded_query_is_tested():
    assert {method: set(CASE[method]) for method in CALLS} == {method: set(names) for method, names in CALLS.items()}


@pytest.mark.parametrize("method", ["loadRefs", "loadAnns", "loadImgs", "loadCats"])
def test_loading(original, method):
    assert {key: getattr(original, method)(int(key)) for key in CASE[method]} == CASE[method]


def test_categories_and_boxes(original):
    assert original.getCatIds() == CASE["getCatIds"]
    assert {key: original.getRefBox(int(key)) for key in CASE["getRefBox"]} == CASE["getRefBox"]


@pytest.mark.parametrize("name", ["Cats", "Sents", "sentToTokens"])
def test_plain_dictionaries(original, name):
    assert {str(key): value for key, value in getattr(original, name).items()} == CASE[name]


@pytest.mark.parametrize(
    "name, identifier",
    [("annToRef", "ref_id"), ("sentToRef", "ref_id"), ("refToAnn", "id")],
)
def test_dictionaries_to_one(original, name, identifier):
    assert {str(key): value[identifier] for key, value in getattr(original, name).items()} == CASE[name]


@pytest.mark.parametrize("name, identifier", [("catToRefs", "ref_id"), ("imgToRefs", "ref_id"), ("imgToAnns", "id")])
def test_dictionaries_to_many(original, name, identifier):
    found = {str(key): [row[identifier] for row in rows] for key, rows in getattr(original, name).items()}
    assert found == CASE[name]


def test_what_fails_in_the_original(original):
    """image_ids works; an unknown split and a name for an identifier are errors that say so."""
    assert original.getRefIds(image_ids=[115]) == [26, 28]
    with pytest.raises(InputError, match="no split 'nosuch'; it has train, testB, val, testA"):
        original.getRefIds(split="nosuch")
    with pytest.raises(InputError, match="whole numbers; found 'x'"):
        original.loadAnns("x")


def test_objects_of_references(refer):
    assert refer.ann_ids(ref_ids=26) == [1377]
    assert refer.ann_ids(image_ids=[209, 115], ref_ids=[28, 30]) == [1379, 1378]
    assert refer.ann_ids(image_ids=[]) == []
    assert refer.ref_ids("train", image_ids=209) == [33, 30]


def test_splits_of_the_file(refer):
    assert refer.splits == ("train", "testB", "val", "testA")
    assert refer.ref_ids("test") == [55, 52]
    with pytest.raises(InputError, match=r"refs\(unc\)\.p: there is no split 'testC'; it has .*did you mean \"test"):
        refer.ref_ids("testC")


@pytest.mark.parametrize("split", ["train", "val", "testA", "testB"])
def test_records_are_the_entries_of_the_original(refer, split):
    entries = golden("vilbert/refer_dataset").json("entries.json")[split]
    records = refer.records(split)
    assert [_entry(record) for record in records] == entries
    assert records[0].image == f"COCO_train2014_{records[0].image_id:012d}"


def test_records_without_images_of_other_tasks(refer):
    entries = golden("vilbert/refer_dataset").json("entries.json")
    held_out = np.load(ROOT / "cache" / "coco_test_ids.npy")
    cleaned = refer.records("train", without_images=held_out)
    kept_apart = refer.records("train", only_images=held_out)
    assert [_entry(record) for record in cleaned] == entries["train_cleaned"]
    assert [_entry(record) for record in kept_apart] == entries["mteval"]
    with pytest.raises(InputError, match="no reference of split 'val' is left"):
        refer.records("val", only_images=[])


def _entry(record) -> dict:
    return {
        "caption": record.expression,
        "image_id": record.image_id,
        "refBox": list(record.box),
        "ref_id": record.ref_id,
        "sent_id": record.sentence_id,
    }


def test_boxes_keep_the_order_asked_for(refer):
    boxes = refer.boxes([55, 26])
    assert boxes.dtype == np.float64
    assert boxes.tolist() == [CASE["getRefBox"]["55"], CASE["getRefBox"]["26"]]


def test_unknown_reference_is_named(refer):
    with pytest.raises(InputError, match="there is no reference 9999"):
        refer.boxes([26, 9999])


def test_mask_fills_the_polygon(refer, original):
    mask = refer.mask(30)
    x, y, width, height = refer.box(30)
    assert mask.shape == (refer.images(209)[0]["height"], refer.images(209)[0]["width"])
    assert set(np.unique(mask)) == {0, 1}
    assert mask.sum() == pytest.approx(width * height / 2, rel=0.03)  # the recorded outlines are half boxes: triangles
    assert original.getMask(original.Refs[30])["area"] == mask.sum()


def test_make_says_that_nothing_is_compiled():
    folder = Path(__file__).parents[3] / "pyutils" / "refer"
    done = subprocess.run(["make"], cwd=folder, capture_output=True, text=True, check=True)
    assert "nothing to compile" in done.stdout
