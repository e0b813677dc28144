"""Region features written for other programs: read back as those programs and our readers do."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from pyutils.data.features import FeatureSpec, PackedWriter, RegionFeatures, exporting, open_regions
from pyutils.data.features.__main__ import main
from pyutils.data.features.exporting import EXPORTS, export_features
from pyutils.errors import InputError

SPEC = FeatureSpec(6, "butd", dtype="float16", provenance="a test", has_class_probs=True)
NAMES = ["a/cat", "b/cat", "dog", "COCO_val2014_000000000042"]


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    with PackedWriter(tmp_path / "store", SPEC, 3) as writer:
        for number, name in enumerate(NAMES, start=1):
            boxes = np.sort(480 * rng.random((number, 2, 2)), axis=1).reshape(number, 4).astype(np.float32)
            features, probs = rng.standard_normal((number, 6)), rng.dirichlet(np.ones(3), number)
            writer.add(name, RegionFeatures(features.astype(np.float32), boxes, 640, 480, probs.astype(np.float32)))
    return open_regions(tmp_path / "store")


def assert_equal(found, expected):
    assert sorted(found) == sorted(expected)
    for key in expected:
        for name in ("features", "boxes", "class_probs"):
            np.testing.assert_array_equal(getattr(found[key], name), getattr(expected[key], name))
        assert (found[key].width, found[key].height) == (640, 480)
    spec = replace(expected.spec, dtype="float32", max_regions=found.spec.max_regions)
    assert found.spec == spec


@pytest.mark.parametrize("kind", EXPORTS)
def test_our_readers_find_the_same(tmp_path, store, kind, capsys):
    assert main(["export", str(store.path), str(tmp_path / "out"), "--to", kind]) == 0
    assert "4 images added" in capsys.readouterr().out
    assert_equal(open_regions(tmp_path / "out"), store)
    assert export_features(store, tmp_path / "out", kind) == 0
    assert_equal(open_regions(tmp_path / "out"), store)


def test_an_lmdb_as_the_readers_of_vilbert_open_it(tmp_path, store):
    import lmdb

    export_features(store, tmp_path / "out", "lmdb")
    with lmdb.open(str(tmp_path / "out"), readonly=True, lock=False) as opened, opened.begin() as reading:
        keys = pickle.loads(reading.get(b"keys"))
        assert sorted(keys) == sorted(name.encode() for name in NAMES)
        value = pickle.loads(reading.get(b"dog"))
    assert (value["image_id"], value["num_boxes"], value["image_h"], value["image_w"]) == ("dog", 3, 480, 640)
    assert value["features"].dtype == np.float32 and value["features"].shape == (3, 6)
    np.testing.assert_array_equal(value["boxes"], store["dog"].boxes)


def test_npy_files_as_mmf_reads_them(tmp_path, store):
    export_features(store, tmp_path / "out", "npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out/a/cat.npy"), store["a/cat"].features)
    info = np.load(tmp_path / "out/a/cat_info.npy", allow_pickle=True).item()
    assert (info["num_boxes"], info["image_width"], info["image_height"]) == (1, 640, 480)
    np.testing.assert_array_equal(info["bbox"], store["a/cat"].boxes)
    assert info["objects"] == store["a/cat"].class_probs[:, :-1].argmax(axis=1)


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_interrupted_export_is_continued(tmp_path, store, kind, monkeypatch):
    class Stops(EXPORTS[kind]):
        added = 0

        def add(self, key, regions):
            if Stops.added == 2:
                raise KeyboardInterrupt
            Stops.added += 1
            super().add(key, regions)

    monkeypatch.setitem(exporting.EXPORTS, kind, Stops)
    with pytest.raises(KeyboardInterrupt):
        export_features(store, tmp_path / "out", kind)
    monkeypatch.undo()
    assert len(open_regions(tmp_path / "out")) == 2
    assert export_features(store, tmp_path / "out", kind) == 2
    assert_equal(open_regions(tmp_path / "out"), store)


def test_an_lmdb_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_FIRST_MAP", 1 << 16)
    with PackedWriter(tmp_path / "store", replace(SPEC, dimension=2048, has_class_probs=False)) as writer:
        for number in range(20):
            writer.add(f"{number}", RegionFeatures(np.full((9, 2048), number, np.float32), np.ones((9, 4)), 9, 9))
    source = open_regions(tmp_path / "store")
    assert export_features(source, tmp_path / "out", "lmdb") == 20
    found = open_regions(tmp_path / "out")
    assert all((found[key].features == int(key)).all() for key in source)


@pytest.mark.parametrize("kind", EXPORTS)
def test_other_folders_are_kept(tmp_path, store, kind):
    export_features(store, tmp_path / "out", kind)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(InputError, match="mine"):
        export_features(store, tmp_path / "mine", kind)
    with PackedWriter(tmp_path / "other", replace(SPEC, detector="another"), 3) as writer:
        writer.add("dog", store["dog"])
    with pytest.raises(InputError, match="out.*butd.*another"):
        export_features(open_regions(tmp_path / "other"), tmp_path / "out", kind)


@pytest.mark.parametrize("kind, name", [("lmdb", "keys"), ("lmdb", "x" * 512), ("npy", "cat_info")])
def test_keys_that_a_format_cannot_have(tmp_path, store, kind, name):
    with PackedWriter(tmp_path / "odd", SPEC, 3) as writer:
        writer.add(name, store["dog"])
    with pytest.raises(InputError, match=name[:9]):
        export_features(open_regions(tmp_path / "odd"), tmp_path / "out", kind)
