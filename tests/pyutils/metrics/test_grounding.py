"""Overlaps and grounding accuracy, against what the original evaluation printed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.metrics.grounding import (
    accuracy_at,
    best_regions,
    box_iou,
    peaks,
    pointing_hits,
    xyxy,
)
from tests.support import golden


def test_overlaps_equal_the_original():
    case = golden("vilbert/refer_dataset")
    found = box_iou(case.inputs["iou.anchors"], case.inputs["iou.gt_boxes"], pixels=True)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, case.outputs["iou.overlaps"], atol=1e-6, rtol=0)


def test_the_pixel_rule_is_not_the_plain_one():
    case = golden("vilbert/refer_dataset")
    plain = box_iou(case.inputs["iou.anchors"], case.inputs["iou.gt_boxes"])
    assert np.abs(plain - case.outputs["iou.overlaps"]).max() > 1e-4


def test_plain_overlap_by_hand():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], dtype=np.float64)
    np.testing.assert_allclose(box_iou(boxes, boxes[:1])[:, 0], [1, 1 / 3, 0])


def test_boxes_without_area_and_turned_round_overlap_nothing():
    boxes = np.array([[3, 3, 3, 3], [8, 8, 2, 2]], dtype=np.float64)
    assert box_iou(boxes, boxes).tolist() == [[0, 0], [0, 0]]
    assert box_iou(np.zeros((0, 4)), boxes).shape == (0, 2)


def test_batches_of_boxes_broadcast():
    rng = np.random.default_rng(0)
    corners = rng.random((2, 3, 2)) * 10
    boxes = np.concatenate([corners, corners + 1 + rng.random((2, 3, 2))], axis=-1)
    together = box_iou(boxes, boxes[:, :1])
    for row, own in zip(together, boxes):
        np.testing.assert_array_equal(row, box_iou(own, own[:1]))


def test_coco_boxes_become_corners():
    assert xyxy(np.array([[1, 2, 3, 4]])).tolist() == [[1, 2, 4, 6]]


def test_accuracy_equals_the_original_evaluation():
    case = golden("vilbert/evaluation")
    recorded = json.loads((case.folder / "refer_expression.json").read_text())
    logits = [case.inputs[f"refer.logits{number}"][..., 0] for number in range(3)]
    targets = [case.inputs[f"refer.target{number}"][..., 0] for number in range(3)]
    scores, ious = np.concatenate(logits), np.concatenate(targets)
    chosen = best_regions(scores, np.ones_like(scores))
    assert accuracy_at(np.take_along_axis(ious, chosen[:, None], axis=1)) == recorded["accuracy"]


def test_loss_of_the_evaluation_equals_the_original():
    import paddle

    from pyutils.losses import vqa_bce

    case = golden("vilbert/evaluation")
    losses = [
        float(
            vqa_bce(
                paddle.to_tensor(case.inputs[f"refer.logits{number}"][..., 0]),
                paddle.to_tensor(case.inputs[f"refer.target{number}"][..., 0]),
            )
        )
        for number in range(3)
    ]
    recorded = json.loads((case.folder / "refer_expression.json").read_text())["mean_batch_loss"]
    assert np.mean(losses) == pytest.approx(recorded, rel=1e-5)


def test_padding_is_never_chosen():
    scores = np.array([[-3.0, -2.0, 9.0], [0.0, 0.0, 0.0]])
    assert best_regions(scores, np.array([[1, 1, 0], [0, 1, 1]])).tolist() == [1, 1]
    assert best_regions(scores, np.ones((2, 3))).tolist() == [2, 0]


def test_threshold_is_exclusive_unless_asked():
    overlaps = np.array([0.5, 0.6, 0.4])
    assert accuracy_at(overlaps) == pytest.approx(1 / 3)
    assert accuracy_at(overlaps, inclusive=True) == pytest.approx(2 / 3)
    assert accuracy_at(np.zeros(0)) == 0.0


def test_a_row_without_regions_and_scores_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="expression 1 has no region"):
        best_regions(np.zeros((2, 2)), np.array([[1, 0], [0, 0]]))
    with pytest.raises(InputError, match="not a number"):
        best_regions(np.array([[0.0, np.nan]]), np.ones((1, 2)))
    assert best_regions(np.array([[0.0, np.nan]]), np.array([[1, 0]])).tolist() == [0]


def test_pointing_game():
    maps = np.zeros((2, 2, 4))
    maps[0, 0, 3] = maps[1, 1, 0] = 1
    points = peaks(maps, np.array([80, 80]), np.array([40, 40]))
    assert points.tolist() == [[70, 10], [10, 30]]
    boxes = np.array([[70, 0, 80, 20], [11, 20, 40, 40]])
    assert pointing_hits(points, boxes).tolist() == [True, False]
