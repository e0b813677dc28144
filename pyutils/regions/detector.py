"""The bottom-up detector: Faster R-CNN on ResNet C4 with an attribute head (Anderson et al. 2018, arXiv 1707.07998)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from pyutils.config import setting
from pyutils.errors import InputError
from pyutils.regions.boxes import cell_anchors, clip_boxes, decode_boxes, grid_anchors, nms
from pyutils.regions.convolution import fold_norms
from pyutils.regions.resnet import BLOCKS, ResNetC4, stage_blocks

_REGIONS = 10
"""Regions that res5 describes together: their maps stay in the processor's cache, and below the 32 MB from which glibc
takes new pages from the system for every tensor. 50 took 1.8 times as long."""
STRIDE = 16
"""Pixels of the image per cell of res4."""


@dataclass(frozen=True)
class DetectorConfig:
    """Architecture and inference settings; the defaults are those of the published Visual Genome detector."""

    depth: int = setting(101, "Depth of the ResNet: 50, 101 or 152.")
    stem_channels: int = setting(64, "Channels of the stem.")
    width: int = setting(64, "Channels inside a block of res2; doubled every stage.")
    res2_channels: int = setting(256, "Channels out of res2; doubled every stage.")
    caffe_pool: bool = setting(True, "Max pool of the stem without padding, rounded up.")
    stride_in_1x1: bool = setting(True, "Stride of a stage in its first 1x1 convolution; else in the 3x3.")
    halve_res5: bool = setting(False, "res5 with stride 2; else stride 1 and dilation 2.")
    rpn_channels: int = setting(512, "Hidden channels of the region proposal network.")
    anchor_sizes: tuple[float, ...] = setting((64.0, 128.0, 256.0, 512.0), "Anchor sizes in resized pixels.")
    anchor_ratios: tuple[float, ...] = setting((0.5, 1.0, 2.0), "Anchor ratios, height / width.")
    anchor_offset: float = setting(0.0, "Position of an anchor in its cell: 0 the corner, 0.5 the centre.")
    rpn_box_weights: tuple[float, ...] = setting((1.0, 1.0, 1.0, 1.0), "Divisors of the proposal network's deltas.")
    rpn_before_nms: int = setting(6000, "Anchors per image before the proposal network's NMS.")
    rpn_after_nms: int = setting(300, "Proposals per image.")
    rpn_nms_threshold: float = setting(0.7, "IoU threshold of the proposal network's NMS.")
    min_proposal_size: float = setting(0.0, "Proposals whose sides are not longer are dropped.")
    classes: int = setting(1600, "Object classes, background not counted.")
    attributes: int = setting(400, "Attributes, 'no attribute' not counted.")
    attribute_channels: int = setting(512, "Hidden channels of the attribute head.")
    box_weights: tuple[float, ...] = setting((10.0, 10.0, 5.0, 5.0), "Divisors of the box head's deltas.")
    pooled_size: int = setting(14, "Cells of a pooled region on each side.")
    nms_thresholds: tuple[float, ...] = setting((0.5, 0.6, 0.7), "Tried in order until enough boxes are left.")
    min_boxes: int = setting(36, "Boxes per image wanted at least.")
    max_boxes: int = setting(36, "Boxes per image at most.")
    min_side: int = setting(800, "Shorter side of the resized image, in pixels.")
    max_side: int = setting(1333, "Longer side of the resized image at most, in pixels.")
    pixel_mean: tuple[float, ...] = setting((102.9801, 115.9465, 122.7717), "Subtracted from 0-255 values: B, G, R.")
    pixel_std: tuple[float, ...] = setting((1.0, 1.0, 1.0), "Divisors after the subtraction: B, G, R.")
    channel_order: str = setting("bgr", "Order of the channels that the weights were trained on: bgr or rgb.")

    def __post_init__(self) -> None:
        if self.depth not in BLOCKS:
            raise InputError(f"detector depth {self.depth}: expected one of {', '.join(map(str, BLOCKS))}")
        if not 1 <= self.min_boxes <= self.max_boxes <= self.rpn_after_nms:
            raise InputError(
                f"boxes {self.min_boxes}:{self.max_boxes}: expected 1 <= minimum <= maximum <= {self.rpn_after_nms} "
                "proposals"
            )

    @property
    def dimension(self) -> int:
        """Size of a region feature: the channels out of res5."""
        return 8 * self.res2_channels

    @classmethod
    def from_original(cls, values: Mapping[str, Any]) -> DetectorConfig:
        """Read the `config.yaml` of the published weights. Raises InputError for a missing section."""
        try:
            return cls(**_settings(values))
        except (KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"not the configuration of a bottom-up detector: {error!r} is missing or malformed"
            ) from error


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings of the original's sections."""
    model, test, rpn, heads = values["model"], values["input"], values["rpn"], values["roi_heads"]
    box, resnet, anchors = values["roi_box_head"], values["resnets"], values["anchor_generator"]
    return {
        "depth": resnet["depth"],
        "stem_channels": resnet["stem_out_channels"],
        "width": resnet["width_per_group"],
        "res2_channels": resnet["res2_out_channels"],
        "caffe_pool": model["max_pool"],
        "stride_in_1x1": resnet["stride_in_1x1"],
        "halve_res5": box["res5halve"],
        "rpn_channels": values["proposal_generator"]["hidden_channels"],
        "anchor_sizes": tuple(anchors["sizes"][0]),
        "anchor_ratios": tuple(anchors["aspect_ratios"][0]),
        "anchor_offset": anchors["offset"],
        "rpn_box_weights": tuple(rpn["bbox_reg_weights"]),
        "rpn_before_nms": rpn["pre_nms_topk_test"],
        "rpn_after_nms": rpn["post_nms_topk_test"],
        "rpn_nms_threshold": rpn["nms_thresh"],
        "min_proposal_size": values["proposal_generator"]["min_size"],
        "classes": heads["num_classes"],
        "attributes": box["num_attrs"],
        "attribute_channels": resnet["res2_out_channels"] * 2,
        "box_weights": tuple(box["bbox_reg_weights"]),
        "pooled_size": box["pooler_resolution"],
        "nms_thresholds": tuple(heads["nms_thresh_test"]),
        "min_boxes": values["min_detections"],
        "max_boxes": values["max_detections"],
        "min_side": test["min_size_test"],
        "max_side": test["max_size_test"],
        "pixel_mean": tuple(model["pixel_mean"]),
        "pixel_std": tuple(model["pixel_std"]),
    }


class HeadOutput(NamedTuple):
    """Outputs of the region heads for r regions: `class_logits` `[r, classes + 1]` (background last),
    `attribute_logits` `[r, attributes + 1]` (none last), `box_deltas` `[r, 4 classes]`; float32."""

    class_logits: paddle.Tensor
    attribute_logits: paddle.Tensor
    box_deltas: paddle.Tensor


class Detections(NamedTuple):
    """Regions of one image by falling probability: `boxes` `[n, 4]` in pixels of the original image, `class_ids` and
    `attribute_ids` `[n]` int64, their probabilities `[n]`, `class_probs` `[n, classes + 1]` (background last) and
    `features` `[n, dimension]`; float32."""

    boxes: np.ndarray
    class_ids: np.ndarray
    class_scores: np.ndarray
    attribute_ids: np.ndarray
    attribute_scores: np.ndarray
    class_probs: np.ndarray
    features: np.ndarray


class ProposalNetwork(nn.Layer):
    """Scores anchors and turns the best into proposals (Ren et al. 2015, section 3.1)."""

    def __init__(self, config: DetectorConfig):
        super().__init__()
        self.config = config
        channels, anchors = 4 * config.res2_channels, len(config.anchor_sizes) * len(config.anchor_ratios)
        self.conv = nn.Conv2D(channels, config.rpn_channels, 3, padding=1)
        self.objectness = nn.Conv2D(config.rpn_channels, anchors, 1)
        self.deltas = nn.Conv2D(config.rpn_channels, 4 * anchors, 1)
        cell = cell_anchors(config.anchor_sizes, config.anchor_ratios)
        self.register_buffer("cell_anchors", paddle.to_tensor(cell))  # published weights contain it

    def forward(self, maps: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """`[n, channels, h, w]` → logits `[n, anchors, h, w]` and deltas `[n, 4 anchors, h, w]`."""
        hidden = F.relu(self.conv(maps))
        return self.objectness(hidden), self.deltas(hidden)

    def flat(self, maps: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return the logits `[n, h x w x anchors]` and deltas `[n, h x w x anchors, 4]` in the order of the anchors."""
        logits, deltas = self(maps)
        batch, count, rows, columns = logits.shape
        logits = logits.transpose([0, 2, 3, 1]).reshape([batch, -1])
        deltas = deltas.reshape([batch, count, 4, rows, columns]).transpose([0, 3, 4, 1, 2])
        return logits, deltas.reshape([batch, -1, 4])

    def decoded(self, maps: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return the logits `[n, h x w x anchors]` and boxes `[n, h x w x anchors, 4]` before clipping."""
        logits, deltas = self.flat(maps)
        batch = len(logits)
        rows, columns = maps.shape[2:]
        anchors = grid_anchors(self.cell_anchors, rows, columns, STRIDE, self.config.anchor_offset)
        every = anchors.unsqueeze(0).expand([batch, -1, -1]).reshape([-1, 4])
        boxes = decode_boxes(every, deltas.reshape([-1, 4]), self.config.rpn_box_weights)
        return logits, boxes.reshape([batch, -1, 4])

    def proposals(self, maps: paddle.Tensor, sizes: np.ndarray) -> list[paddle.Tensor]:
        """Return each image's proposals `[<= rpn_after_nms, 4]` by falling logit.

        `sizes` `[n, 2]`: height and width of each image without padding. Anchors are cut to the best before boxes are
        clipped and NMS is done, so anchors in the padding of a batch take places, as in the original.
        """
        return self.best(*self.decoded(maps), sizes)

    def best(self, logits: paddle.Tensor, boxes: paddle.Tensor, sizes: np.ndarray) -> list[paddle.Tensor]:
        """Return the proposals of `decoded` logits and boxes, see `proposals`."""
        # Ordered in NumPy: a stable order of equal logits is the same in every Paddle version.
        order = np.argsort(-logits.numpy(), axis=1, kind="stable")[:, : self.config.rpn_before_nms]
        return [self._best(boxes[i], order[i], sizes[i]) for i in range(len(sizes))]

    def _best(self, boxes: paddle.Tensor, order: np.ndarray, size: np.ndarray) -> paddle.Tensor:
        boxes = clip_boxes(paddle.gather(boxes, paddle.to_tensor(order)), *map(float, size))
        sides = (boxes[:, 2:] - boxes[:, :2]).numpy()
        boxes = paddle.gather(boxes, paddle.to_tensor(np.flatnonzero((sides > self.config.min_proposal_size).all(1))))
        kept = nms(boxes, -np.arange(len(boxes)), self.config.rpn_nms_threshold)[: self.config.rpn_after_nms]
        return paddle.gather(boxes, paddle.to_tensor(kept))


class RegionHeads(nn.Layer):
    """Class, box and attribute of each region; the attribute head also sees the embedding of the predicted class."""

    def __init__(self, config: DetectorConfig):
        super().__init__()
        size, embedding = config.dimension, config.dimension // 8
        self.classes = nn.Linear(size, config.classes + 1)
        self.boxes = nn.Linear(size, 4 * config.classes)
        self.class_embedding = nn.Embedding(config.classes + 1, embedding)
        self.attribute_hidden = nn.Linear(size + embedding, config.attribute_channels)
        self.attributes = nn.Linear(config.attribute_channels, config.attributes + 1)

    def forward(self, features: paddle.Tensor, known: paddle.Tensor | None = None) -> HeadOutput:
        """`[r, dimension]` region features → their heads' outputs; `known` `[r]`: true classes, in training."""
        logits = self.classes(features)
        # Background counts as a class here.
        embedded = self.class_embedding(logits.argmax(axis=-1) if known is None else known)
        hidden = F.relu(self.attribute_hidden(paddle.concat([features, embedded], axis=-1)))
        return HeadOutput(logits, self.attributes(hidden), self.boxes(features))


class BottomUpDetector(nn.Layer):
    """Images to regions. `detect` is inference; `backbone`, `region_features` and `heads` are differentiable."""

    def __init__(self, config: DetectorConfig):
        super().__init__()
        self.config = config
        depth, res2 = config.depth, config.res2_channels
        self.backbone = ResNetC4(
            depth, config.stem_channels, config.width, res2, config.caffe_pool, config.stride_in_1x1
        )
        self.rpn = ProposalNetwork(config)
        stride, dilation = (2, 1) if config.halve_res5 else (1, 2)
        blocks, width = BLOCKS[depth][3], 8 * config.width
        self.res5 = stage_blocks(blocks, 4 * res2, width, 8 * res2, stride, dilation, config.stride_in_1x1)
        self.heads = RegionHeads(config)

    def region_features(self, maps: paddle.Tensor, boxes: Sequence[paddle.Tensor]) -> paddle.Tensor:
        """Return the features `[sum of r, dimension]` of each image's `boxes` `[r, 4]` (resized pixels) in `maps`
        `[n, channels, h, w]`: RoIPool, res5 and the mean over the cells."""
        if not self.backbone.folded:
            return self.res5(self._pooled(maps, boxes)).mean(axis=[2, 3])
        found = [paddle.zeros([0, self.config.dimension])]
        for image, own in enumerate(boxes):
            for start in range(0, len(own), _REGIONS):
                pooled = self._pooled(maps[image : image + 1], [own[start : start + _REGIONS]])
                found.append(self.res5(pooled.transpose([0, 2, 3, 1])).mean(axis=[1, 2]))
        return paddle.concat(found)

    def _pooled(self, maps: paddle.Tensor, boxes: Sequence[paddle.Tensor]) -> paddle.Tensor:
        """`[n, channels, h, w]` and each image's boxes → `[sum of r, channels, pooled_size, pooled_size]`."""
        counts = paddle.to_tensor([len(each) for each in boxes], dtype="int32")
        size = self.config.pooled_size
        return paddle.vision.ops.roi_pool(maps, paddle.concat(list(boxes)), counts, size, 1.0 / STRIDE)

    @paddle.no_grad()
    def detect(
        self,
        images: paddle.Tensor,
        sizes: np.ndarray,
        scales: np.ndarray,
        boxes: Sequence[np.ndarray] | None = None,
    ) -> list[Detections]:
        """Detect regions.

        Args:
            images: `[n, 3, h, w]` float32 from `preprocess`. sizes: `[n, 2]` height, width without padding.
            scales: `[n, 2]` original / resized height, width.
            boxes: for each image, `[r, 4]` boxes in original pixels to describe in place of proposals; all are kept,
                in their order.
        """
        maps = self.backbone(images)
        if boxes is None:
            proposals = self.rpn.proposals(maps, sizes)
        else:
            factors = [np.asarray([s[1], s[0], s[1], s[0]], np.float32) for s in scales]
            proposals = [paddle.to_tensor(np.float32(b) / f) for b, f in zip(boxes, factors)]
        features = self.region_features(maps, proposals)
        output = self.heads(features)
        return select_detections(self.config, proposals, features, output, sizes, scales, given=boxes is not None)

    def fold_norms(self) -> None:
        """Prepare for inference: evaluation mode, batch norms folded into the convolutions (`ConvNorm.fold`)."""
        self.eval()
        if not self.backbone.folded:
            self.backbone.fold()
            fold_norms(self.res5.sublayers())


def select_detections(
    config: DetectorConfig,
    proposals: Sequence[paddle.Tensor],
    features: paddle.Tensor,
    output: HeadOutput,
    sizes: np.ndarray,
    scales: np.ndarray,
    given: bool = False,
) -> list[Detections]:
    """Choose the final regions: each proposal's best class and that class's box, one NMS over all classes.

    Each threshold of `nms_thresholds` is tried until `min_boxes` are left; if none leaves enough, the last counts.
    (The original then returned another image's boxes.) With `given` boxes, those are kept as they are.
    """
    probs = F.softmax(output.class_logits, axis=-1).numpy()
    best = probs[:, :-1].argmax(axis=1)
    attributes = F.softmax(output.attribute_logits[:, :-1], axis=-1).numpy()  # 'no attribute' does not compete
    arrays, results, start = features.numpy(), [], 0
    for image, boxes in enumerate(proposals):
        rows = np.arange(start, start + len(boxes))
        start += len(boxes)
        if given:
            kept, chosen = np.arange(len(rows)), boxes.numpy()
        else:
            kept, chosen = _suppress(config, boxes, output.box_deltas, probs, best, rows, sizes[image])
        rows = rows[kept]
        scale = np.asarray(scales[image], np.float32)[[1, 0, 1, 0]]
        attribute = attributes[rows].argmax(axis=1)
        results.append(
            Detections(
                chosen * scale,
                best[rows],
                probs[rows, best[rows]],
                attribute,
                attributes[rows, attribute],
                probs[rows],
                arrays[rows],
            )
        )
    return results


def _suppress(
    config: DetectorConfig,
    boxes: paddle.Tensor,
    deltas: paddle.Tensor,
    probs: np.ndarray,
    best: np.ndarray,
    rows: np.ndarray,
    size: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the kept places among `rows` by falling probability, and their boxes in resized pixels."""
    if not len(rows):
        return rows, np.zeros((0, 4), np.float32)
    columns = (rows[:, None] * config.classes + best[rows, None]).ravel()
    own = paddle.gather(deltas.reshape([-1, 4]), paddle.to_tensor(columns))  # deltas of the best class only
    moved = clip_boxes(decode_boxes(boxes, own, config.box_weights), *map(float, size))
    scores = probs[rows, best[rows]]
    for threshold in config.nms_thresholds:
        kept = nms(moved, scores, threshold)
        if len(kept) >= config.min_boxes:
            break
    kept = kept[: config.max_boxes]
    return kept, moved.numpy()[kept]
