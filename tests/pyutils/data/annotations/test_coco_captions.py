from __future__ import annotations

import json

import pytest

from pyutils.data.annotations import coco_captions
from pyutils.data.table import concat
from pyutils.data.vqa import annotations as vqa
from pyutils.errors import InputError
from tests.support import golden

FORMATS = golden("visualbert/data_formats")
FOLDER = FORMATS.folder / "datasets/COCOCaptions/annotations"


def test_captions_are_grouped_by_image():
    table = coco_captions.read(FOLDER / "captions_val2014.json")
    content = json.loads((FOLDER / "captions_val2014.json").read_text())
    texts = {entry["id"]: (entry["image_id"], entry["caption"]) for entry in content["annotations"]}
    assert sum(len(record.captions) for record in table) == len(texts)
    for record in table:
        assert record.image == f"COCO_val2014_{record.image_id:012d}"
        assert [texts[i] for i in record.caption_ids] == [(record.image_id, text) for text in record.captions]


def test_the_authors_splits_are_joined_tables():
    train, val = (coco_captions.read(FOLDER / f"captions_{split}2014.json") for split in ("train", "val"))
    minival = set(vqa.read(FORMATS.folder / "datasets/VQA2/annotations/imdb_minival2014.npy").column("image"))
    in_minival = [image in minival for image in val.column("image")]
    kept = val.select([i for i, inside in enumerate(in_minival) if not inside])
    expected = FORMATS.json("expected/coco_items.json")
    found = [i for record in concat([train, kept]) for i in record.caption_ids]
    assert sorted(found) == expected["train"]
    held_out = val.select([i for i, inside in enumerate(in_minival) if inside])
    assert sorted(i for record in held_out for i in record.caption_ids) == expected["validation"]


def test_bad_files(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"images": [], "annotations": [{"id": 4, "image_id": 9, "caption": "a"}]}))
    with pytest.raises(InputError, match="caption 4 is about image 9, which is not in"):
        coco_captions.read(path)
    path.write_text(json.dumps({"images": [{"id": 9}], "annotations": []}))
    with pytest.raises(InputError, match='entry 0 of images: lacks "file_name"'):
        coco_captions.read(path)
    path.write_text("[]")
    with pytest.raises(InputError, match='expected an object with a list "images"'):
        coco_captions.read(path)
