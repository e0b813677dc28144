"""The answers of the original REFER class on its recorded data, and the same data under our own names."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pyutils.data.refer import REFER, Refer
from pyutils.errors import InputError
from tests.support import golden

CASE = golden("vilbert/refer_api").json("refer_api.json")
ROOT = golden("vilbert/refer_dataset").folder / "dataroot"


def arguments(name: str) -> dict:
    """The keyword arguments that a recorded query's name spells: `cat_ids=1,split=train`, `ref_ids=[28, 55]`."""
    found = {}
    for key, many, word in re.findall(r"(\w+)=(?:\[([^]]*)\]|([^,]+))", name):
        if many:
            found[key] = [int(number) for number in many.split(",")]
        else:
            found[key] = int(word) if word.isdigit() else word
    return found


CALLS = {
    method: {name: {} if name == "all" else arguments(name) for name in CASE[method]}
    for method in ("getRefIds", "getAnnIds", "getImgIds")
}
REFS = {ref: image for image, refs in CASE["imgToRefs"].items() for ref in refs}
IMAGES = {int(image): refs for image, refs in CASE["imgToRefs"].items()}
SPLITS = tuple(
    dict.fromkeys(
        next(s for s in ("train", "val", "testA", "testB") if ref in CASE["getRefIds"][f"split={s}"])
        for ref in CASE["getRefIds"]["all"]
    )
)


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
    image, refs = next((image, refs) for image, refs in IMAGES.items() if len(refs) == 2)
    assert sorted(original.getRefIds(image_ids=[image])) == sorted(refs)
    with pytest.raises(InputError, match=f"no split 'nosuch'; it has {', '.join(SPLITS)}"):
        original.getRefIds(split="nosuch")
    with pytest.raises(InputError, match="whole numbers; found 'x'"):
        original.loadAnns("x")


def test_objects_of_references(refer):
    (one, ours), (two, theirs) = list(IMAGES.items())[:2]
    ann_of = {int(ref): ann for ref, ann in CASE["refToAnn"].items()}
    assert refer.ann_ids(ref_ids=ours[0]) == [ann_of[ours[0]]]
    assert refer.ann_ids(image_ids=[two, one], ref_ids=[ours[0], theirs[0]]) == [ann_of[theirs[0]], ann_of[ours[0]]]
    assert refer.ann_ids(image_ids=[]) == []
    train = CASE["getRefIds"]["split=train"]
    assert refer.ref_ids("train", image_ids=two) == [ref for ref in train if ref in theirs]


def test_splits_of_the_file(refer):
    assert refer.splits == SPLITS
    assert refer.ref_ids("test") == CASE["getRefIds"]["split=test"]
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
    first, second = CASE["getRefIds"]["all"][:2]
    boxes = refer.boxes([second, first])
    assert boxes.dtype == np.float64
    assert boxes.tolist() == [CASE["getRefBox"][str(second)], CASE["getRefBox"][str(first)]]


def test_unknown_reference_is_named(refer):
    with pytest.raises(InputError, match="there is no reference 9999"):
        refer.boxes([CASE["getRefIds"]["all"][0], 9999])


def test_mask_fills_the_polygon(refer, original):
    one = CASE["getRefIds"]["all"][1]
    mask = refer.mask(one)
    x, y, width, height = refer.box(one)
    image = refer.images(int(REFS[one]))[0]
    assert mask.shape == (image["height"], image["width"])
    assert set(np.unique(mask)) == {0, 1}
    assert mask.sum() == pytest.approx(width * height / 2, rel=0.03)  # the recorded outlines are half boxes: triangles
    assert original.getMask(original.Refs[one])["area"] == mask.sum()


def test_make_says_that_nothing_is_compiled():
    folder = Path(__file__).parents[4] / "pyutils" / "data" / "refer"
    done = subprocess.run(["make"], cwd=folder, capture_output=True, text=True, check=True)
    assert "nothing to compile" in done.stdout
