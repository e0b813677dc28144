"""Damaged and missing files, the cache, and the reader that leaves outlines out."""

from __future__ import annotations

import json
import os
import pickle
import time
from pathlib import Path

import pytest

from pyutils.data.refer import Refer
from pyutils.data.refer.instances import read_instances, read_outlines, to_mask
from pyutils.data.refer.layout import locate
from pyutils.data.refer.tables import _annotations
from pyutils.errors import InputError

POLYGON = [[1.5, 2, 30, 2, 30, 40.25]]
RLE = {"size": [48, 64], "counts": [100, 48 * 64 - 100]}


def world(root: Path, dataset: str = "refcocog", split_by: str = "umd", count: int = 2) -> tuple[list, dict]:
    """A data set of `count` references on one image, as the official files have it."""
    refs = [
        {
            "ref_id": number,
            "ann_id": 10 + number,
            "category_id": 1,
            "image_id": 7,
            "file_name": "COCO_train2014_000000000007_1.jpg",
            "split": "train" if number % 2 == 0 else "val",
            "sent_ids": [number],
            "sentences": [{"sent_id": number, "raw": "A dog", "sent": "a dog", "tokens": ["a", "dog"]}],
        }
        for number in range(count)
    ]
    instances = {
        "images": [{"id": 7, "file_name": "COCO_train2014_000000000007.jpg", "height": 48, "width": 64}],
        "annotations": [
            {"id": 10 + n, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12.5, "iscrowd": n % 2,
             "segmentation": RLE if n % 2 else POLYGON}
            for n in range(count)
        ],
        "categories": [{"id": 1, "name": "dog", "supercategory": "animal"}],
    }  # fmt: skip
    write(root, refs, instances, dataset, split_by)
    return refs, instances


def write(root: Path, refs, instances, dataset: str = "refcocog", split_by: str = "umd") -> None:
    folder = root / dataset
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=2))
    (folder / "instances.json").write_text(json.dumps(instances), encoding="utf-8")


@pytest.mark.parametrize(
    "dataset, split_by",
    [("refcoco", "unc"), ("refcoco", "google"), ("refcoco+", "unc"), ("refcocog", "umd"), ("refcocog", "google")],
)
def test_every_published_splitting_opens(tmp_path, dataset, split_by):
    refs, instances = world(tmp_path, dataset, split_by)
    opened = Refer(tmp_path, dataset, split_by, cache=tmp_path / "cache")
    assert opened.refs() == refs
    assert opened.annotations() == instances["annotations"]
    assert opened.images() == instances["images"]


def test_names_that_do_not_exist(tmp_path):
    world(tmp_path)
    with pytest.raises(InputError, match='did you mean "refcocog"'):
        locate(tmp_path, "refcoco-g")
    with pytest.raises(InputError, match="refcocog: unknown split scheme 'unc': known: google, umd"):
        locate(tmp_path, "refcocog", "unc")
    with pytest.raises(InputError, match=r"refs\(google\)\.p: no such file.* refs\(umd\)\.p"):
        locate(tmp_path, "refcocog", "google")
    with pytest.raises(InputError, match=r"refcoco\+.*no such file.*download_dataset\.sh refcoco\+"):
        locate(tmp_path, "refcoco+")


def test_code_in_the_pickle_never_runs(tmp_path):
    world(tmp_path)
    witness = tmp_path / "witness"

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    (tmp_path / "refcocog" / "refs(umd).p").write_bytes(pickle.dumps([Attack()], protocol=2))
    with pytest.raises(InputError, match=r"refs\(umd\)\.p"):
        Refer(tmp_path, "refcocog", cache=tmp_path / "cache")
    assert not witness.exists()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda refs, _: refs.clear(), "expected a list of references, found an empty list"),
        (lambda refs, _: refs.__setitem__(1, "x"), "reference 1: expected an object, found str"),
        (lambda refs, _: refs[1].pop("split"), 'reference 1: lacks "split"'),
        (lambda refs, _: refs[0]["sentences"][0].pop("raw"), 'reference 0, sentences: lacks "raw"'),
        (lambda refs, _: refs[0].update(ref_id="x"), "an id that is not a whole number"),
        (lambda refs, _: refs[1].update(ref_id=0), "ref_id 0 occurs 2 times"),
        (lambda refs, _: refs[1].update(ann_id=99), "reference 1 points to object 99, which .*instances.json"),
        (lambda refs, _: refs[0].update(image_id=8), "reference 0 points to image 8"),
        (
            lambda _, instances: instances.pop("images"),
            'instances.json: expected COCO annotations with a list "images"',
        ),
        (lambda _, instances: instances["annotations"][0].pop("bbox"), "an annotation lacks id"),
        (lambda _, instances: instances["annotations"][0].update(bbox=[1, 2, 3]), "a bbox of four numbers"),
        (lambda _, instances: instances["images"][0].pop("height"), '"images" has entries without .height'),
    ],
)
def test_bad_entries_are_named(tmp_path, change, message):
    refs, instances = world(tmp_path)
    change(refs, instances)
    write(tmp_path, refs, instances)
    with pytest.raises(InputError, match=message):
        Refer(tmp_path, "refcocog", cache=tmp_path / "cache")


def test_instances_that_are_not_json(tmp_path):
    world(tmp_path)
    (tmp_path / "refcocog" / "instances.json").write_text('{"images": [', encoding="utf-8")
    with pytest.raises(InputError, match="instances.json: not a JSON file"):
        Refer(tmp_path, "refcocog", cache=tmp_path / "cache")


@pytest.mark.parametrize("indent", [None, 1])
def test_outlines_are_found_wherever_they_stand(tmp_path, indent):
    texts = ['{"a": "\\"segmentation\\": [1]"}']
    rows = [
        {"segmentation": POLYGON, "id": 1},
        {"id": 2, "segmentation": [[1, 2], [-3.5e-2, 4]]},
        {"id": 3, "segmentation": RLE, "area": 2},
        {"id": 4, "segmentation": {"size": [2, 2], "counts": "a\\b[c]"}},
        {"id": 5, "segmentation": []},
        {"id": 6, "segmentation": None},
        {"id": 7, "note": texts[0]},
    ]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": [], "categories": [], "annotations": rows}, indent=indent), encoding="utf-8")
    parsed, spans, _ = read_instances(path)
    outlines = read_outlines(path, spans)
    for row in parsed["annotations"]:
        if type(row.get("segmentation")) is int:
            row["segmentation"] = outlines[row["segmentation"]]
    assert parsed["annotations"] == rows


def test_cache_is_used_and_follows_the_content(tmp_path, monkeypatch):
    refs, instances = world(tmp_path)
    cache = tmp_path / "cache"
    first = Refer(tmp_path, "refcocog", cache=cache)
    monkeypatch.setattr("pyutils.data.refer.tables.read_tables", lambda files: pytest.fail("read again"))
    assert Refer(tmp_path, "refcocog", cache=cache).refs() == first.refs() == refs
    monkeypatch.undo()
    instances["annotations"][0]["bbox"] = [9, 9, 9, 9]
    write(tmp_path, refs, instances)
    assert Refer(tmp_path, "refcocog", cache=cache).box(0) == (9.0, 9.0, 9.0, 9.0)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 500])
def test_damaged_cache_is_made_again(tmp_path, damage):
    refs, _ = world(tmp_path)
    cache = tmp_path / "cache"
    Refer(tmp_path, "refcocog", cache=cache)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert Refer(tmp_path, "refcocog", cache=cache).refs() == refs
    assert file.read_bytes() == whole


def test_cache_that_cannot_be_written_is_no_error(tmp_path):
    refs, _ = world(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert Refer(tmp_path, "refcocog", cache=blocked / "cache").refs() == refs


def test_masks_that_cannot_be_made(tmp_path):
    with pytest.raises(InputError, match="annotation 3: has no outline"):
        to_mask(None, 48, 64, "annotation 3")
    with pytest.raises(InputError, match=r"outline is for size \[48, 64\], expected \[48, 65\]"):
        to_mask(RLE, 48, 65, "annotation 3")
    with pytest.raises(InputError, match="outline is for size"):
        to_mask({"size": [48, 64], "counts": [5]}, 48, 64, "annotation 3")
    assert to_mask(RLE, 48, 64, "annotation 3").sum() == 48 * 64 - 100


def test_outline_of_a_file_that_changed(tmp_path):
    path = tmp_path / "instances.json"
    path.write_text("[]")
    with pytest.raises(InputError, match="changed since it was opened"):
        read_outlines(path, [(5, 20)])


def test_large_data_set_opens_quickly_from_the_cache(tmp_path):
    world(tmp_path, count=20_000)
    cache = tmp_path / "cache"
    Refer(tmp_path, "refcocog", cache=cache)
    start = time.perf_counter()
    opened = Refer(tmp_path, "refcocog", cache=cache)
    assert len(opened.ref_ids("val")) == 10_000
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize("irregular", ["", "indent", "brace in a text", "box of integers", "nothing but the ids"])
def test_columns_and_rows_give_the_same_tables(tmp_path, irregular):
    refs, instances = world(tmp_path, count=5)
    instances["annotations"][1].pop("segmentation")
    instances["annotations"][2].update(segmentation=None, note="}, {" if irregular == "brace in a text" else "")
    instances["annotations"][3]["bbox"] = [1, 2, 3, 4] if irregular == "box of integers" else [1.5, 2, 3.25, 4]
    if irregular == "nothing but the ids":
        for key in ("area", "iscrowd", "segmentation"):
            instances["annotations"][4].pop(key)
    write(tmp_path, refs, instances)
    path = tmp_path / "refcocog" / "instances.json"
    if irregular == "indent":
        path.write_text(json.dumps(instances, indent=1), encoding="utf-8")
    usual = read_instances(path, columns=True)
    assert (usual.objects is None) == (irregular in ("indent", "brace in a text"))
    parsed, spans, _ = read_instances(path)
    opened = Refer(tmp_path, "refcocog", cache=tmp_path / "cache")
    rows = _annotations(parsed["annotations"], spans, opened.files)
    assert opened._tables.annotations.to_pydict() == rows.to_pydict()
    given = [{"area": 0.0, "iscrowd": 0, "segmentation": None, **row} for row in instances["annotations"]]
    assert opened.annotations() == [{key: value for key, value in row.items() if key != "note"} for row in given]
