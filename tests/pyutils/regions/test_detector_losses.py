"""Losses of the detector against independent computations in NumPy loops."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest

from pyutils.regions.boxes import grid_anchors
from pyutils.regions.detector import BottomUpDetector, DetectorConfig, HeadOutput
from pyutils.regions.training import (
    IGNORED,
    DetectorLossConfig,
    SampledRegions,
    Targets,
    detector_losses,
    image_anchors,
    label_anchors,
    region_loss,
    rpn_loss,
    sample,
    sample_regions,
)

TINY = DetectorConfig(
    depth=50,
    stem_channels=4,
    width=2,
    res2_channels=4,
    rpn_channels=8,
    anchor_sizes=(16.0, 32.0),
    anchor_ratios=(0.5, 1.0),
    rpn_before_nms=40,
    rpn_after_nms=20,
    classes=3,
    attributes=4,
    attribute_channels=8,
    pooled_size=4,
    min_boxes=1,
    max_boxes=8,
    min_side=48,
    max_side=64,
)


def iou(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def deltas_to(box, truth, weights):
    """The four numbers that lead from a box to its true one (Girshick 2014, appendix C)."""
    width, height = box[2] - box[0], box[3] - box[1]
    x, y = box[0] + width / 2, box[1] + height / 2
    true_width, true_height = truth[2] - truth[0], truth[3] - truth[1]
    true_x, true_y = truth[0] + true_width / 2, truth[1] + true_height / 2
    plain = ((true_x - x) / width, (true_y - y) / height, math.log(true_width / width), math.log(true_height / height))
    return [value * weight for value, weight in zip(plain, weights)]


def boxes_of(rng, count):
    corner = rng.uniform(0, 40, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(8, 30, (count, 2))], axis=1).astype(np.float32)


def cross_entropy(logits, label):
    return math.log(sum(math.exp(value - logits.max()) for value in logits)) + logits.max() - logits[label]


def test_anchors_are_those_of_the_network():
    cell = BottomUpDetector(TINY).rpn.cell_anchors
    np.testing.assert_allclose(image_anchors(TINY, 3, 5), grid_anchors(cell, 3, 5, 16).numpy(), atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_labels_of_anchors(seed):
    rng = np.random.default_rng(seed)
    anchors, truth, config = boxes_of(rng, 60), boxes_of(rng, 3), DetectorLossConfig()
    labels, nearest = label_anchors(anchors, truth, config)
    table = [[iou(anchor, box) for box in truth] for anchor in anchors.astype(float)]
    best_of_truth = [max(row[box] for row in table) for box in range(3)]
    for row, label, box in zip(table, labels, nearest):
        assert row[box] == pytest.approx(max(row), abs=1e-6)
        is_best = any(math.isclose(row[b], best_of_truth[b], abs_tol=1e-7) and row[b] > 0 for b in range(3))
        expected = 1 if is_best or max(row) >= 0.7 else 0 if max(row) < 0.3 else IGNORED
        assert label == expected
    assert (labels == IGNORED).any() and (labels == 1).sum() >= 1
    assert not label_anchors(anchors, np.zeros((0, 4), np.float32), config)[0].any()


def test_samples_keep_their_shares():
    labels = np.array([1] * 10 + [0] * 50 + [IGNORED] * 5)
    draws = np.random.default_rng(0).random(65)
    positive, negative = sample(labels, 16, 0.25, draws)
    assert len(positive) == 4 and len(negative) == 12
    assert set(positive.tolist()) == set(np.argsort(draws[:10])[:4].tolist())
    assert (labels[negative] == 0).all()
    positive, negative = sample(labels, 40, 0.5, draws)  # too few positive ones: negative ones fill up
    assert len(positive) == 10 and len(negative) == 30
    assert sample(np.array([IGNORED]), 4, 0.5, draws)[0].size == 0


@pytest.mark.parametrize("empty", [False, True])
def test_loss_of_the_proposal_network(empty):
    rng, config = np.random.default_rng(1), DetectorLossConfig(rpn_samples=20)
    anchors = boxes_of(rng, 30)
    targets = [Targets(boxes_of(rng, 0 if empty else n), np.zeros(n, np.int64), np.zeros(n, np.int64)) for n in (2, 0)]
    logits, deltas = rng.standard_normal((2, 30)).astype(np.float32), rng.standard_normal((2, 30, 4)).astype(np.float32)
    draws = rng.random((2, 30))
    found = rpn_loss(paddle.to_tensor(logits), paddle.to_tensor(deltas), anchors, targets, draws, TINY, config)
    entropy = distance = 0.0
    for image, target in enumerate(targets):
        labels, nearest = label_anchors(anchors, target.boxes, config)
        positive, negative = sample(labels, 20, 0.5, draws[image])
        for row in positive:
            entropy += math.log1p(math.exp(-logits[image, row]))
            wanted = deltas_to(anchors[row].astype(float), target.boxes[nearest[row]].astype(float), (1, 1, 1, 1))
            distance += sum(abs(a - b) for a, b in zip(deltas[image, row], wanted))
        entropy += sum(math.log1p(math.exp(logits[image, row])) for row in negative)
    assert float(found[0]) == pytest.approx(entropy / 40, rel=1e-5)
    assert float(found[1]) == pytest.approx(distance / 40, rel=1e-4, abs=1e-7)


def test_sampled_regions():
    rng, config = np.random.default_rng(2), DetectorLossConfig(region_samples=12, region_positive_share=0.5)
    target = Targets(boxes_of(rng, 2), np.array([2, 0]), np.array([3, IGNORED]))
    proposals = np.concatenate([target.boxes + 1, boxes_of(rng, 20)]).astype(np.float32)
    found = sample_regions(proposals, target, 3, rng.random(40), config)
    assert len(found.boxes) == 12
    for box, kind, attribute, truth in zip(*found):
        overlaps = [iou(box.astype(float), true.astype(float)) for true in target.boxes]
        best = int(np.argmax(overlaps))
        assert kind == (target.classes[best] if overlaps[best] >= 0.5 else 3)
        assert attribute == (target.attributes[best] if overlaps[best] >= 0.5 else IGNORED)
        np.testing.assert_array_equal(truth, target.boxes[best])
    assert 1 <= (found.classes != 3).sum() <= 6
    none = sample_regions(
        proposals, Targets(np.zeros((0, 4), np.float32), *[np.zeros(0, np.int64)] * 2), 3, rng.random(40), config
    )
    assert (none.classes == 3).all() and (none.attributes == IGNORED).all()


def test_loss_of_the_region_heads():
    rng = np.random.default_rng(3)
    boxes, truth = boxes_of(rng, 7), boxes_of(rng, 7)
    classes, attributes = np.array([0, 3, 2, 3, 1, 1, 3]), np.array([1, IGNORED, IGNORED, IGNORED, 0, 4, IGNORED])
    regions = [
        SampledRegions(boxes[part], classes[part], attributes[part], truth[part]) for part in (slice(0, 4), slice(4, 7))
    ]
    arrays = [rng.standard_normal((7, size)).astype(np.float32) for size in (4, 5, 12)]
    found = region_loss(HeadOutput(*map(paddle.to_tensor, arrays)), regions, TINY)
    entropy = np.mean([cross_entropy(row.astype(float), label) for row, label in zip(arrays[0], classes)])
    known = [row for row in range(7) if attributes[row] != IGNORED]
    attribute = np.mean([cross_entropy(arrays[1][row].astype(float), attributes[row]) for row in known])
    distance = 0.0
    for row in range(7):
        if classes[row] != 3:
            wanted = deltas_to(boxes[row].astype(float), truth[row].astype(float), (10, 10, 5, 5))
            own = arrays[2][row, 4 * classes[row] : 4 * classes[row] + 4]
            distance += sum(abs(a - b) for a, b in zip(own, wanted))
    assert float(found[0]) == pytest.approx(entropy, rel=1e-5)
    assert float(found[1]) == pytest.approx(distance / 7, rel=1e-4)
    assert float(found[2]) == pytest.approx(attribute, rel=1e-5)


def test_all_losses_reach_all_parameters():
    paddle.seed(0)
    model = BottomUpDetector(TINY)
    rng, config = np.random.default_rng(4), DetectorLossConfig(region_samples=16)
    targets = [Targets(boxes_of(rng, 3), np.array([0, 1, 2]), np.array([0, IGNORED, 3])) for _ in range(2)]
    images = paddle.to_tensor(rng.standard_normal((2, 3, 64, 64)).astype(np.float32))
    draws = (rng.random((2, 200)), rng.random((2, 40)))
    losses = detector_losses(model, images, np.array([[64, 64], [60, 64]]), targets, draws, config)
    assert all(math.isfinite(float(value)) and float(value) > 0 for value in losses.values())
    sum(losses.values()).backward()
    trained = {name: value for name, value in model.named_parameters() if not value.stop_gradient}
    assert [name for name, value in trained.items() if value.grad is None or not value.grad.abs().sum() > 0] == []
    model.eval()  # batch norm's running statistics are not moved: the same loss again
    again = [detector_losses(model, images, np.array([[64, 64]] * 2), targets, draws, config) for _ in range(2)]
    assert {name: float(value) for name, value in again[0].items()} == {n: float(v) for n, v in again[1].items()}
    nothing = [Targets(np.zeros((0, 4), np.float32), *[np.zeros(0, np.int64)] * 2)] * 2
    empty = detector_losses(model, images, np.array([[64, 64]] * 2), nothing, draws, config)
    assert float(empty["region_boxes"]) == float(empty["proposal_boxes"]) == float(empty["attributes"]) == 0
