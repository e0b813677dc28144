"""Losses of the detector: Ren et al. 2015, section 3.1.2; Girshick 2015, section 2.3; Anderson et al. 2018, section 3.

Everything random is decided by numbers that the caller draws, so that a batch has one loss in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F

from pyutils.config import setting
from pyutils.metrics.grounding import box_iou
from pyutils.regions.boxes import cell_anchors, decode_boxes, encode_boxes
from pyutils.regions.detector import STRIDE, BottomUpDetector, DetectorConfig, HeadOutput

IGNORED = -1


@dataclass(frozen=True)
class DetectorLossConfig:
    """Sampling and weights of the losses; the defaults are those of Faster R-CNN."""

    rpn_positive_iou: float = setting(0.7, "Anchors that overlap a true box more are positive.")
    rpn_negative_iou: float = setting(0.3, "Anchors that overlap every true box less are negative.")
    rpn_samples: int = setting(256, "Anchors per image in the loss.")
    rpn_positive_share: float = setting(0.5, "Of them, positive ones at most.")
    region_iou: float = setting(0.5, "Proposals that overlap a true box as much have its class.")
    region_samples: int = setting(512, "Proposals per image in the loss.")
    region_positive_share: float = setting(0.25, "Of them, with a true box at most.")
    attribute_weight: float = setting(1.0, "Factor on the loss of the attributes.")


class Targets(NamedTuple):
    """True objects of one image: `boxes` `[g, 4]` float32 in resized pixels, `classes` `[g]` int64, `attributes` `[g]`
    int64, `IGNORED` where unknown."""

    boxes: np.ndarray
    classes: np.ndarray
    attributes: np.ndarray


def image_anchors(config: DetectorConfig, height: int, width: int) -> np.ndarray:
    """Return the anchors `[rows x columns x a, 4]` float32 of a feature map of `height` x `width` cells, NumPy only."""
    cell = cell_anchors(config.anchor_sizes, config.anchor_ratios)
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    shifts = (np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4) + config.anchor_offset) * STRIDE
    return (shifts + cell).reshape(-1, 4).astype(np.float32)


def label_anchors(anchors: np.ndarray, truth: np.ndarray, config: DetectorLossConfig) -> tuple[np.ndarray, np.ndarray]:
    """Label anchors 1 (positive), 0 (negative) or `IGNORED`.

    The best anchors of every true box are positive, however little they overlap it.

    Returns:
        Labels `[a]` int64, and the true box `[a]` int64 that each overlaps most.
    """
    if not len(truth):
        return np.zeros(len(anchors), np.int64), np.zeros(len(anchors), np.int64)
    overlaps = box_iou(anchors, truth)  # [a, g]
    nearest, best = overlaps.argmax(axis=1), overlaps.max(axis=1)
    labels = np.full(len(anchors), IGNORED, np.int64)
    labels[best < config.rpn_negative_iou] = 0
    labels[best >= config.rpn_positive_iou] = 1
    top = overlaps.max(axis=0)  # of each true box
    labels[((overlaps == top) & (top > 0)).any(axis=1)] = 1
    return labels, nearest


def sample(labels: np.ndarray, count: int, positive_share: float, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose at most `count` rows, at most `positive_share` of them with a label above 0, the rest with label 0.

    Args:
        labels: `[n]`; below 0 is never chosen. draws: `[n]` random numbers; of each kind the lowest are chosen.

    Returns:
        Indices of positive and of negative rows.
    """
    positive, negative = (np.flatnonzero(chosen) for chosen in (labels > 0, labels == 0))
    positive, negative = (rows[np.argsort(draws[rows], kind="stable")] for rows in (positive, negative))
    positive = positive[: int(count * positive_share)]
    return positive, negative[: count - len(positive)]


def rpn_loss(
    logits: paddle.Tensor,
    deltas: paddle.Tensor,
    anchors: np.ndarray,
    targets: Sequence[Targets],
    draws: np.ndarray,
    model: DetectorConfig,
    config: DetectorLossConfig,
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Losses of the proposal network.

    Args:
        logits: `[n, a]`. deltas: `[n, a, 4]`. anchors: `[a, 4]`. draws: `[n, a]` random numbers.

    Returns:
        Cross entropy of the sampled anchors, and L1 of the deltas of the positive ones; both divided by the number that
        may be sampled, as in the original.
    """
    rows, labels, positives, wanted = [], [], [], []
    for image, target in enumerate(targets):
        kinds, nearest = label_anchors(anchors, target.boxes, config)
        positive, negative = sample(kinds, config.rpn_samples, config.rpn_positive_share, draws[image])
        offset = image * len(anchors)
        rows.append(offset + np.concatenate([positive, negative]))
        labels.append(np.concatenate([np.ones(len(positive)), np.zeros(len(negative))]))
        if len(positive):
            positives.append(offset + positive)
            pair = (paddle.to_tensor(anchors[positive]), paddle.to_tensor(target.boxes[nearest[positive]]))
            wanted.append(encode_boxes(*pair, model.rpn_box_weights))
    chosen = paddle.gather(logits.reshape([-1]), paddle.to_tensor(np.concatenate(rows)))
    truth = paddle.to_tensor(np.concatenate(labels).astype(np.float32))
    possible = config.rpn_samples * len(targets)
    objectness = F.binary_cross_entropy_with_logits(chosen, truth, reduction="sum") / possible
    if not positives:
        return objectness, deltas.sum() * 0.0
    found = paddle.gather(deltas.reshape([-1, 4]), paddle.to_tensor(np.concatenate(positives)))
    return objectness, (found - paddle.concat(wanted)).abs().sum() / possible


class SampledRegions(NamedTuple):
    """Regions of one image in the loss: `boxes` `[r, 4]`, `classes` `[r]` (background: the number of classes),
    `attributes` `[r]` and the true boxes `[r, 4]`, those of the background arbitrary."""

    boxes: np.ndarray
    classes: np.ndarray
    attributes: np.ndarray
    truth: np.ndarray


def sample_regions(
    proposals: np.ndarray, target: Targets, background: int, draws: np.ndarray, config: DetectorLossConfig
) -> SampledRegions:
    """Label proposals `[p, 4]` and the true boxes and choose those in the loss; `draws` `[>= p + g]`: see `sample`."""
    boxes = np.concatenate([proposals, target.boxes]).astype(np.float32)
    if len(target.boxes):
        overlaps = box_iou(boxes, target.boxes)
        nearest, best = overlaps.argmax(axis=1), overlaps.max(axis=1)
        classes = np.where(best >= config.region_iou, target.classes[nearest], background)
        attributes, truth = target.attributes[nearest], target.boxes[nearest]
    else:
        classes = np.full(len(boxes), background, np.int64)
        attributes, truth = np.full(len(boxes), IGNORED, np.int64), boxes
    labels = (classes != background).astype(np.int64)
    rows = np.concatenate(sample(labels, config.region_samples, config.region_positive_share, draws[: len(boxes)]))
    attributes = np.where(labels == 1, attributes, IGNORED)
    return SampledRegions(boxes[rows], classes[rows], attributes[rows], truth[rows])


def region_loss(
    output: HeadOutput, regions: Sequence[SampledRegions], model: DetectorConfig
) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    """Losses of the region heads over the sampled regions of all images, in the order of `output`.

    Returns:
        Cross entropy of the classes; L1 of the deltas of the true class, of regions with a true box, divided by the
        number of all regions, as in the original; cross entropy of the known attributes, their mean.
    """
    classes = np.concatenate([each.classes for each in regions]).astype(np.int64)
    class_loss = F.cross_entropy(output.class_logits, paddle.to_tensor(classes))
    attributes = np.concatenate([each.attributes for each in regions]).astype(np.int64)
    known = np.flatnonzero(attributes != IGNORED)
    none = output.attribute_logits.sum() * 0.0
    attribute_loss = none
    if len(known):
        rows = paddle.gather(output.attribute_logits, paddle.to_tensor(known))
        attribute_loss = F.cross_entropy(rows, paddle.to_tensor(attributes[known]))
    objects = np.flatnonzero(classes != model.classes)
    if not len(objects):
        return class_loss, output.box_deltas.sum() * 0.0, attribute_loss
    boxes, truth = (np.concatenate([getattr(each, name) for each in regions])[objects] for name in ("boxes", "truth"))
    wanted = encode_boxes(paddle.to_tensor(boxes), paddle.to_tensor(truth), model.box_weights)
    rows = paddle.to_tensor(objects * model.classes + classes[objects])
    found = paddle.gather(output.box_deltas.reshape([-1, 4]), rows)
    return class_loss, (found - wanted).abs().sum() / len(classes), attribute_loss


def detector_losses(
    model: BottomUpDetector,
    images: paddle.Tensor,
    sizes: np.ndarray,
    targets: Sequence[Targets],
    draws: Sequence[np.ndarray],
    config: DetectorLossConfig,
) -> dict[str, paddle.Tensor]:
    """Return the five losses of a batch by name.

    Args:
        images: `[n, 3, h, w]`, see `preprocess`. sizes: `[n, 2]` height, width without padding.
        draws: random numbers `[n, >= anchors]` and `[n, >= proposals + true boxes]`.
    """
    settings = model.config
    maps = model.backbone(images)
    batch, _, rows, columns = maps.shape
    logits, deltas = model.rpn.flat(maps)
    anchors = image_anchors(settings, rows, columns)
    objectness, proposal_boxes = rpn_loss(
        logits, deltas, anchors, targets, draws[0][:, : len(anchors)], settings, config
    )
    with paddle.no_grad():  # proposals are inputs of the second stage, not differentiated
        every = paddle.to_tensor(np.tile(anchors, (batch, 1)))
        boxes = decode_boxes(every, deltas.reshape([-1, 4]), settings.rpn_box_weights).reshape([batch, -1, 4])
        proposals = model.rpn.best(logits, boxes, sizes)
    regions = [
        sample_regions(found.numpy(), target, settings.classes, draw, config)
        for found, target, draw in zip(proposals, targets, draws[1])
    ]
    features = model.region_features(maps, [paddle.to_tensor(each.boxes) for each in regions])
    known = paddle.to_tensor(np.concatenate([each.classes for each in regions]).astype(np.int64))
    classes, region_boxes, attributes = region_loss(model.heads(features, known), regions, settings)
    return {
        "objectness": objectness,
        "proposal_boxes": proposal_boxes,
        "classes": classes,
        "region_boxes": region_boxes,
        "attributes": attributes * config.attribute_weight,
    }
