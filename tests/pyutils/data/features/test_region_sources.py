"""Keys, batches, specs and the missing policy, whatever the format."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from pyutils.data.features import FeatureSpec, keep_available, normalise_boxes, open_regions
from pyutils.data.features.keys import KeyIndex, numeric_id, stem_of
from pyutils.data.features.source import copy_as_float32
from pyutils.errors import InputError

NAMES = ["COCO_val2014_000000262148", "COCO_val2014_000000000042", "COCO_train2014_000000000009", "dev-1-0-img0"]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        below = tmp_path / "fc6" / ("train2014" if "train" in name else "val2014")
        below.mkdir(parents=True, exist_ok=True)
        features = rng.standard_normal((number + 2, 6)).astype(np.float32)
        boxes = np.sort(rng.uniform(0, 90, (number + 2, 2, 2)), axis=1).reshape(-1, 4).astype(np.float32)
        np.save(below / f"{name}.npy", features)
        np.save(below / f"{name}_info.npy", {"bbox": boxes, "image_width": 100, "image_height": 90}, allow_pickle=True)
    return tmp_path


def test_keys_are_found_by_stem_and_number(folder):
    source = open_regions(folder)
    for key in (NAMES[0], "val2014/" + NAMES[0] + ".jpg", "262148", 262148, NAMES[0] + ".npy"):
        assert key in source
        assert len(source[key]) == 2
    assert "262149" not in source and "" not in source and "x" * 500 not in source
    assert source.missing([42, "43", "dev-1-0-img0.png", "43"]) == ["43"]
    assert list(source) == sorted(NAMES)


def test_stems_and_numbers():
    assert stem_of("a/b/x.y.jpg.npz") == "x.y"
    assert numeric_id("COCO_test2015_000000000007.jpg") == 7
    assert numeric_id("000000000007") == numeric_id("7") == 7 and numeric_id("0") == 0
    assert numeric_id("0007") == -1
    assert numeric_id("dev-1-img0") == -1


def test_a_number_that_fits_two_entries_is_refused():
    index, _ = KeyIndex.sort(["COCO_train2014_000000000001", "COCO_val2014_000000000001"], "store")
    with pytest.raises(InputError, match="store: '1' matches 2 entries"):
        index.find([1])
    with pytest.raises(InputError, match="'a' occurs twice"):
        KeyIndex.sort(["a", "b", "a"], "store")


def test_a_name_in_two_folders_is_ambiguous(folder):
    (folder / "copy").mkdir()
    (folder / "copy" / f"{NAMES[0]}.npy").write_bytes(b"")
    with pytest.raises(InputError, match=f"'{NAMES[0]}' matches 2 entries .*copy/{NAMES[0]}"):
        open_regions(folder).missing([NAMES[0]])


def test_batches_are_padded_to_their_own_longest(folder):
    source = open_regions(folder)
    batch = source.read_batch(NAMES[:2])
    assert batch.features.shape == (2, 3, 6) and batch.features.dtype == np.float32
    assert batch.features.flags.c_contiguous and batch.features.flags.writeable
    assert batch.mask.tolist() == [[1, 1, 0], [1, 1, 1]] and batch.mask.dtype == np.int64
    assert batch.boxes.shape == (2, 3, 4) and batch.sizes.tolist() == [[100, 90]] * 2
    for row, name in enumerate(NAMES[:2]):
        own = source[name]
        np.testing.assert_array_equal(batch.features[row, : len(own)], own.features)
        np.testing.assert_array_equal(batch.boxes[row, : len(own)], own.boxes)
        assert not batch.features[row, len(own) :].any() and not batch.boxes[row, len(own) :].any()
    assert source.read_batch(NAMES, multiple=8).features.shape == (4, 8, 6)
    cut = source.read_batch(NAMES, max_regions=3)
    assert cut.mask.sum(axis=1).tolist() == [2, 3, 3, 3]
    np.testing.assert_array_equal(cut.features[3], source[NAMES[3]].features[:3])


def test_the_global_region_comes_first(folder):
    source = open_regions(folder)
    batch = source.read_batch(NAMES, max_regions=3, global_region=True)
    assert batch.mask.sum(axis=1).tolist() == [3, 4, 4, 4]
    for row, name in enumerate(NAMES):
        own = source[name]
        np.testing.assert_array_equal(batch.features[row, 0], own.features.sum(axis=0) / np.float32(len(own)))
        count = min(3, len(own))
        np.testing.assert_array_equal(batch.features[row, 1 : 1 + count], own.features[:count])
        np.testing.assert_array_equal(batch.boxes[row, 0], [0, 0, 100, 90])
    np.testing.assert_array_equal(batch.locations()[:, 0], [[0, 0, 1, 1, 1]] * 4)


def test_boxes_relative_to_the_image():
    located = normalise_boxes(np.array([[[10, 20, 60, 70]]], np.float32), np.array([[100, 200]]))
    np.testing.assert_allclose(located, [[[0.1, 0.1, 0.6, 0.35, 0.125]]], rtol=1e-6)
    with pytest.raises(InputError, match="no image sizes"):
        normalise_boxes(np.zeros((1, 1, 4), np.float32), np.zeros((1, 2), np.int64))


def test_specs_are_inferred_read_and_checked(folder):
    source = open_regions(folder)
    assert (source.spec.dimension, source.spec.box_format, source.spec.dtype) == (6, "xyxy_pixels", "float32")
    source.check(dimension=6, boxes=True, detector="any")
    with pytest.raises(InputError, match=rf"expected 2048-d regions, {folder} holds 6-d"):
        source.check(dimension=2048)
    with pytest.raises(InputError, match="holds no class probabilities"):
        source.check(class_probs=True)
    (folder / "spec.json").write_text(json.dumps({"dimension": 6, "detector": "butd", "max_regions": 5}))
    source = open_regions(folder)
    assert source.spec == FeatureSpec(6, "butd", 5)
    source.check(detector="butd")
    with pytest.raises(InputError, match="expected regions of detector 'vinvl'.*those of 'butd'"):
        source.check(detector="vinvl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "spec.json"),
        ("[]", "spec.json.*mapping"),
        ('{"dimension": 6, "detektor": "x"}', 'detektor.*did you mean "detector"'),
        ('{"detector": "x"}', "dimension"),
        ('{"dimension": 6, "box_format": "xywh"}', "box_format.*xywh"),
    ],
)
def test_wrong_spec_files(folder, text, message):
    (folder / "spec.json").write_text(text)
    with pytest.raises(InputError, match=message):
        _ = open_regions(folder).spec


def test_an_entry_of_another_width_is_named(folder):
    np.save(folder / "zz.npy", np.zeros((2, 7), np.float32))
    source = open_regions(folder)
    for read in (lambda: source.read_batch([NAMES[0], "zz"]), lambda: source["zz"]):
        with pytest.raises(InputError, match=r"image 'zz': expected \[regions, 6\] features, found \[2, 7\]"):
            read()


def test_a_missing_image_is_named(folder):
    with pytest.raises(InputError, match=rf"{folder} has no features for image '77'.* 4 images"):
        open_regions(folder).read_batch([NAMES[0], "77"])


def test_missing_policies(folder):
    source = open_regions(folder)
    left, right = [NAMES[0], "absent1", NAMES[1], NAMES[2]], [NAMES[3], NAMES[0], "absent2", NAMES[3]]
    with pytest.raises(InputError) as caught:
        keep_available(source, left, right, option="data.missing")
    message = str(caught.value)
    assert "2 of 6 images (2 of 4 records)" in message and "absent1, absent2" in message
    assert str(folder) in message and "data.missing: skip" in message
    kept = keep_available(source, left, right, policy="skip")
    assert kept.indices.tolist() == [0, 3] and kept.skipped == 2 and kept.missing_images == 2
    assert "2 skipped" in kept.describe()
    with pytest.raises(InputError, match="no record would be left"):
        keep_available(source, ["a", "b"], policy="skip")


def test_nothing_known_lists_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"looked for a packed store .*LMDB .*\.npy or \.npz"):
        open_regions(tmp_path)
    with pytest.raises(InputError, match="does not exist; .* holds nothing"):
        open_regions(tmp_path / "absent")
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(InputError, match="'.bin'"):
        open_regions(tmp_path / "x.bin")
    with pytest.raises(InputError, match="unknown region format 'lmbd': did you mean"):
        open_regions(tmp_path, format="lmbd")
    (tmp_path / "big.tsv").write_bytes(b"")
    with pytest.raises(InputError, match=r"it holds big\.tsv: give the path"):
        open_regions(tmp_path)


def test_folder_sources_can_be_pickled(folder):
    source = open_regions(folder)
    assert len(source) == 4
    copied = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copied.read_batch(NAMES).features, source.read_batch(NAMES).features)


@pytest.mark.parametrize("which", ["all", "finite", "positive", "negative"])
def test_halves_become_floats_exactly(which):
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    if which != "all":
        halves = halves[np.isfinite(halves)]
    if which == "positive":
        halves = halves[~np.signbit(halves)]
    if which == "negative":
        halves = halves[np.signbit(halves)]
    halves = np.ascontiguousarray(halves)[None]
    floats = np.empty(halves.shape, np.float32)
    copy_as_float32(floats, halves)
    np.testing.assert_array_equal(floats, halves.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(floats), np.signbit(halves))


def test_folders_of_keys_must_agree():
    index, _ = KeyIndex.sort(["cat/001", "train2014/COCO_train2014_000000000009"], "store")
    assert index.find(["cat/001.jpg", "001", "x/cat/001", "dog/001"]).tolist() == [0, 0, 0, -1]
    assert index.find(["9", "COCO_train2014_000000000009.jpg", "val2014/9"]).tolist() == [1, 1, -1]
    both, _ = KeyIndex.sort(["cat/001", "dog/001"], "store")
    assert both.find(["dog/001", "bird/001"]).tolist() == [1, -1]
    with pytest.raises(InputError, match=r"'001'.*cat/001, dog/001"):
        both.find(["001"])


def test_text_ids_with_leading_zeros_stay_apart():
    index, _ = KeyIndex.sort(["007", "7"], "store")
    assert index.find(["007", "7", "07"]).tolist() == [0, 1, -1]


def test_equal_names_in_two_folders_are_two_images(tmp_path):
    for number, folder in enumerate(("cat", "dog")):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "001.npy", np.full((2, 4), number, np.float32))
    np.save(tmp_path / "cat/002.npy", np.zeros((2, 4), np.float32))
    source = open_regions(tmp_path)
    assert list(source) == ["002", "cat/001", "dog/001"]
    assert [source[key].features[0, 0] for key in ("cat/001", "dog/001.jpg")] == [0, 1]
    assert source.missing(["dog/002", "cat/002", "002"]) == ["dog/002"]
