"""Fields of stored regions under other names, repeated lines, and counts that are not those of the rows."""

from __future__ import annotations

import base64
import pickle

import numpy as np
import pytest

from pyutils.data.features import open_regions
from pyutils.errors import InputError

FEATURES = np.arange(40, dtype=np.float32).reshape(10, 4)
BOXES = np.tile(np.array([[1, 2, 30, 40]], np.float32), (10, 1))
PROBS = np.full((10, 3), 0.25, np.float32)


def write_lmdb(path, **entries):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as writing:
        for key, value in entries.items():
            writing.put(key.encode(), pickle.dumps(value))
    return open_regions(path)


def text(array):
    return base64.b64encode(array.tobytes()).decode()


@pytest.mark.parametrize("size", [("image_w", "image_h"), ("image_width", "image_height"), ("img_w", "img_h")])
@pytest.mark.parametrize("boxes", ["boxes", "bbox", "cls_boxes"])
def test_lmdb_and_folder_know_the_same_names(tmp_path, boxes, size):
    item = {"features": FEATURES, boxes: BOXES, "cls_prob": PROBS, size[0]: 60, size[1]: 50}
    np.save(tmp_path / "a.npy", item, allow_pickle=True)
    np.savez(tmp_path / "b.npz", **item)
    for found in (
        write_lmdb(tmp_path / "x.lmdb", a=item)["a"],
        open_regions(tmp_path)["a"],
        open_regions(tmp_path)["b"],
    ):
        np.testing.assert_array_equal(found.features, FEATURES)
        np.testing.assert_array_equal(found.boxes, BOXES)
        np.testing.assert_array_equal(found.class_probs, PROBS)
        assert (found.width, found.height) == (60, 50)


@pytest.mark.parametrize("count", [6, 100])
def test_arrays_of_an_lmdb_keep_all_rows(tmp_path, count):
    item = {"image_w": 60, "image_h": 50, "num_boxes": count, "boxes": BOXES, "features": FEATURES}
    source = write_lmdb(tmp_path, a=item)
    assert len(source["a"]) == 10 and source.read_batch(["a"]).mask.sum() == 10


def test_confidences_are_no_class_probabilities(tmp_path):
    np.save(tmp_path / "a.npy", FEATURES)
    info = {"bbox": BOXES, "num_boxes": 100, "cls_prob": PROBS[:, 0], "image_width": 60, "image_height": 50}
    np.save(tmp_path / "a_info.npy", info, allow_pickle=True)
    found = open_regions(tmp_path)["a"]
    np.testing.assert_array_equal(found.boxes, BOXES)
    assert len(found) == 10 and found.class_probs is None


def test_an_lmdb_of_tensorpack_is_named(tmp_path):
    with pytest.raises(InputError, match="tensorpack"):
        len(write_lmdb(tmp_path, **{"00000000": 1, "__keys__": [b"00000000"]}))


def test_tsv_with_class_probabilities_header_and_repeated_lines(tmp_path):
    rows = [["a", "60", "50", "10", text(BOXES), text(FEATURES), text(PROBS)]]
    rows.append(["b", *rows[0][1:]])
    lines = ["\t".join(row) for row in rows]
    head = "image_id\timage_w\timage_h\tnum_boxes\tboxes\tfeatures\tcls_prob"
    (tmp_path / "x.tsv").write_text("\n".join([head, *lines, lines[0]]) + "\n")
    source = open_regions(tmp_path / "x.tsv")
    assert list(source) == ["a", "b"]
    np.testing.assert_array_equal(source["a"].class_probs, PROBS)
    np.testing.assert_array_equal(source["b"].features, FEATURES)
    (tmp_path / "y.tsv").write_text("\n".join([lines[0], lines[0].replace("60", "61")]))
    with pytest.raises(InputError, match="'a' occurs twice"):
        len(open_regions(tmp_path / "y.tsv"))
