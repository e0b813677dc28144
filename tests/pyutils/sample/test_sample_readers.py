"""The sample data through the suite's own readers: what is written is what they read."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from pyutils.data.annotations import classified, coco_captions, karpathy, nlvr2
from pyutils.data.features import open_regions
from pyutils.data.vqa import annotations as vqa
from pyutils.sample.detections import DETECTOR
from pyutils.sample.world import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("readers") / "data"
    assert write_world(target, scenes=40, seed=1, dimension=64)
    return target


def test_vqa_official_and_imdb_agree(world):
    annotations = world / "VQA2/annotations"
    for split in ("train2014", "test2015"):
        official = vqa.read(
            annotations / f"v2_OpenEnded_mscoco_{split}_questions.json",
            annotations / f"v2_mscoco_{split}_annotations.json",
        )
        imdb = vqa.read(annotations / f"imdb_{split}.npy")
        assert len(official) == len(imdb) > 0
        for one, other in zip(official, imdb):
            assert (one.question_id, one.image, one.question) == (other.question_id, other.image, other.question)
            if split == "train2014":
                assert one.answers == other.answers
    parts = [vqa.read(annotations / f"imdb_{name}2014.npy") for name in ("val", "minival")]
    whole = vqa.read(annotations / "v2_OpenEnded_mscoco_val2014_questions.json")
    assert sorted(r.question_id for part in parts for r in part) == sorted(r.question_id for r in whole)
    assert not {r.image for r in parts[0]} & {r.image for r in parts[1]}


def test_captions_pairs_and_entailment(world):
    captions = coco_captions.read(world / "COCO/annotations/captions_train2014.json")
    assert all(len(record.captions) == 5 for record in captions)
    pairs = nlvr2.read(world / "NLVR2/annotations/train.json")
    assert {record.label for record in pairs} == {True, False}
    entailment = classified.read(world / "SNLI-VE/snli_ve_train.jsonl")
    assert {record.label for record in entailment} == {"entailment", "neutral", "contradiction"}
    for dataset in ("coco", "flickr30k"):
        assert len(karpathy.read(world / f"karpathy/dataset_{dataset}.json", "test")) > 0


def test_every_annotated_image_has_regions(world):
    regions = open_regions(world / "X_COCO/data/detectron_fix_100")
    records = vqa.read(world / "VQA2/annotations/v2_OpenEnded_mscoco_train2014_questions.json")
    assert regions.missing([record.image for record in records]) == []
    assert regions.spec.detector == DETECTOR
    regions.check(dimension=64)
    pairs = nlvr2.read(world / "NLVR2/annotations/dev.json")
    boxes = open_regions(world / "X_NLVR/data/detectron_fix_144/dev")
    assert boxes.missing([key for record in pairs for key in (record.left, record.right)]) == []


def test_all_stores_hold_the_same_regions(world):
    name = "COCO_train2014_000000000007"
    reference = open_regions(world / "X_COCO/data/detectron_fix_100/fc6/vqa/train2014")[name]
    assert reference.features.shape[1] == 64
    others = [world / "X_COCO/data/detectron_fix_144/train2014"]
    others += [world / f"lmdb/coco_{kind}.lmdb" for kind in ("base64", "array")]
    for path in others:
        found = open_regions(path)[name]
        np.testing.assert_array_equal(found.features, reference.features)
        np.testing.assert_array_equal(found.boxes, reference.boxes)
    true = open_regions(world / "lmdb/coco_gt_array.lmdb")["7"]
    assert (true.width, true.height) == (128, 128)
    for path in sorted((world / "lmdb").iterdir()):
        source = open_regions(path)
        assert len(source) > 0
        assert source[next(iter(source))].features.shape[1] == 64


def test_entities_point_at_their_boxes(world):
    folder = world / "Flickr30kEntities"
    names = [name for split in ("train", "val", "test") for name in (folder / f"{split}.txt").read_text().split()]
    assert len(names) == 40
    for name in names:
        entries = ElementTree.parse(folder / f"Annotations/{name}.xml").getroot().findall("object")
        known = {number.text for entry in entries for number in entry.findall("name")}
        sentences = (folder / f"Sentences/{name}.txt").read_text().splitlines()
        assert len(sentences) == 5
        for sentence in sentences:
            for phrase in sentence.split("[/EN#")[1:]:
                identity, _, rest = phrase.partition("/")
                assert identity in known
                assert rest.split(" ")[0] in ("other", "scene")
                assert "]" in rest


def test_caption_pool_has_regions_with_class_probabilities(world):
    captions = json.loads((world / "conceptual/caption_train.json").read_text())
    regions = open_regions(world / "lmdb/concap_train_array.lmdb")
    assert regions.missing(list(captions)) == []
    assert regions.spec.has_class_probs
    probs = regions[next(iter(captions))].class_probs
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-4)


def test_refs_through_the_refer_reader(world):
    refer = pytest.importorskip("pyutils.data.refer")
    api = refer.REFER(str(world), "refcoco+", "unc")
    assert len(api.getRefIds(split="train")) > 0
    reference = api.loadRefs(api.getRefIds(split="val")[:1])[0]
    assert len(api.getRefBox(reference["ref_id"])) == 4
