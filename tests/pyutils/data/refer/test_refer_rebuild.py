"""instances.json made again from COCO's annotations."""

from __future__ import annotations

import json
import shutil

import pytest

from pyutils.data.refer import Refer
from pyutils.data.refer.instances import rebuild_instances
from pyutils.errors import InputError
from tests.support import golden

PUBLISHED = golden("vilbert/refer_dataset").folder / "dataroot" / "refcoco+"


@pytest.fixture
def coco(tmp_path):
    """COCO's file: the published one and an image with an object that no reference names."""
    whole = json.loads((PUBLISHED / "instances.json").read_text(encoding="utf-8"))
    whole["images"].insert(0, {**whole["images"][0], "id": 99})
    whole["annotations"].insert(3, {**whole["annotations"][0], "id": 5, "image_id": 99})
    path = tmp_path / "instances_train2014.json"
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


def test_rebuilt_file_answers_as_the_published_one(tmp_path, coco):
    folder = tmp_path / "refcoco+"
    folder.mkdir()
    shutil.copy(PUBLISHED / "refs(unc).p", folder)
    count = rebuild_instances(folder / "refs(unc).p", coco, folder / "instances.json")
    rebuilt = Refer(tmp_path, "refcoco+", cache=tmp_path / "cache")
    published = Refer(PUBLISHED.parent, "refcoco+", cache=tmp_path / "cache")
    named = published.image_ids(published.ref_ids())
    assert count == len(named) < len(published.image_ids())
    assert rebuilt.image_ids() == named
    assert rebuilt.refs() == published.refs()
    assert rebuilt.annotations() == published.annotations(published.ann_ids(image_ids=named))
    assert list(rebuilt.records("val")) == list(published.records("val"))


def test_another_coco_file_is_refused(tmp_path, coco):
    whole = json.loads(coco.read_text(encoding="utf-8"))
    whole["images"] = whole["images"][:3]
    coco.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(InputError, match="5 images and 0 objects .* expected instances_train2014.json"):
        rebuild_instances(PUBLISHED / "refs(unc).p", coco, tmp_path / "instances.json")
    coco.write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="not COCO annotations"):
        rebuild_instances(PUBLISHED / "refs(unc).p", coco, tmp_path / "instances.json")
    assert not (tmp_path / "instances.json").exists()
