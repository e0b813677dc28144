"""Regions of two collections matched by their boxes."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from pyutils.data.features.__main__ import main
from pyutils.data.features.matching import Matches, match_boxes
from pyutils.data.features.packed import PackedWriter
from pyutils.data.features.spec import FeatureSpec, RegionFeatures


def boxes_of(rng, count):
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], axis=1).astype(np.float32)


def regions(rng, count, dimension=8):
    features = rng.standard_normal((count, dimension)).astype(np.float32)
    return RegionFeatures(features, boxes_of(rng, count), 100, 100)


def iou(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def test_boxes_are_matched_by_falling_overlap():
    rng = np.random.default_rng(0)
    first = boxes_of(rng, 6)
    second = np.concatenate([first[[3, 1, 5]] + 1, boxes_of(rng, 2)]).astype(np.float32)
    pairs, overlaps = match_boxes(first, second)
    assert {(3, 0), (1, 1), (5, 2)} <= set(map(tuple, pairs.tolist()))
    assert len(set(pairs[:, 0].tolist())) == len(set(pairs[:, 1].tolist())) == len(pairs)
    np.testing.assert_allclose(overlaps, [iou(first[a], second[b]) for a, b in pairs], rtol=1e-6)
    assert (overlaps >= 0.5).all() and (np.diff(overlaps) <= 0).all()


def test_one_box_is_matched_once():
    box = np.float32([[0, 0, 10, 10]])
    pairs, overlaps = match_boxes(np.repeat(box, 3, axis=0), np.concatenate([box, box + 1]))
    assert pairs.tolist() == [[0, 0], [1, 1]]
    np.testing.assert_allclose(overlaps, [1, 81 / 119])
    assert match_boxes(box, box + 20)[0].shape == (0, 2)
    assert match_boxes(np.zeros((0, 4), np.float32), box)[0].shape == (0, 2)


@pytest.mark.parametrize("order", list(permutations(range(3)))[1:])
def test_the_order_of_regions_does_not_count(order):
    own = regions(np.random.default_rng(1), 3)
    other = RegionFeatures(own.features[list(order)], own.boxes[list(order)], 100, 100)
    found = Matches()
    found.add("a", own, other)
    assert found.iou.count == found.first == found.second == 3
    assert found.iou.lowest == pytest.approx(1) and found.cosine.lowest == pytest.approx(1)


def test_matches_measure_iou_and_cosine():
    features = np.float32([[1, 0], [0, 2]])
    left = RegionFeatures(features, np.float32([[0, 0, 10, 10], [50, 50, 60, 60]]), 100, 100)
    right = RegionFeatures(np.float32([[3, 3], [1, 1]]), np.float32([[0, 0, 10, 8], [90, 90, 99, 99]]), 100, 100)
    found = Matches()
    found.add("one", left, left)
    found.add("two", left, right)
    assert (found.iou.count, found.first, found.second) == (3, 4, 4)
    assert found.iou.lowest == pytest.approx(0.8) and found.iou.where == "two"
    assert found.cosine.lowest == pytest.approx(np.sqrt(0.5)) and found.cosine.where == "two"
    assert found.cosine.total == pytest.approx(2 + np.sqrt(0.5))
    found.add("three", left, RegionFeatures(left.features, None, 100, 100))
    assert found.first == 4


def test_compare_prints_matches(tmp_path, capsys):
    rng = np.random.default_rng(2)
    first = regions(rng, 5)
    fewer = RegionFeatures(first.features[[4, 2, 0]] * 2, first.boxes[[4, 2, 0]], 100, 100)
    for name, entry in (("a", first), ("b", fewer)):
        with PackedWriter(tmp_path / name, FeatureSpec(8, dtype="float32"), 0) as writer:
            writer.add("image", entry)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    printed = capsys.readouterr().out
    assert "3 of 5 and 3" in printed and printed.count("1.0000, lowest 1.0000 image") == 2
