"""Tensor names of published bottom-up detectors."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from pyutils.errors import InputError
from pyutils.weights.names import LINEAR, NORM, TENSOR, Converted, NameMap, NameRule

# num_batches_tracked is a counter of PyTorch's batch norms; pixel statistics are settings here.
_DROP = (r"\.num_batches_tracked$", r"^(pixel_mean|pixel_std)$")
_PARTS = {"weight": "weight", "bias": "bias", "running_mean": "_mean", "running_var": "_variance"}


def _conv_norm(theirs: str, ours: str) -> list[NameRule]:
    """A convolution with its batch norm, which the originals keep inside the convolution."""
    norms = [NameRule(f"{theirs}.norm.{name}", f"{ours}.norm.{own}", TENSOR) for name, own in _PARTS.items()]
    return [NameRule(f"{theirs}.weight", f"{ours}.conv.weight", TENSOR), *norms]


def _rules(embedding: str, hidden: str, attributes: str) -> list[NameRule]:
    """The rules of a code base by its names of the attribute head."""
    rules = _conv_norm("backbone.stem.conv1", "backbone.stem")
    for part in ("shortcut", "conv1", "conv2", "conv3"):
        for stage in (2, 3, 4):
            rules += _conv_norm(f"backbone.res{stage}.{{}}.{part}", f"backbone.res{stage}.{{}}.{part}")
        rules += _conv_norm(f"roi_heads.res5.{{}}.{part}", f"res5.{{}}.{part}")
    head, predictor = "proposal_generator.rpn_head", "roi_heads.box_predictor"
    return [
        *rules,
        NameRule(f"{head}.conv", "rpn.conv", NORM),  # NORM: weight and bias as they are
        NameRule(f"{head}.objectness_logits", "rpn.objectness", NORM),
        NameRule(f"{head}.anchor_deltas", "rpn.deltas", NORM),
        NameRule("proposal_generator.anchor_generator.cell_anchors.0", "rpn.cell_anchors", TENSOR),
        NameRule(f"{predictor}.cls_score", "heads.classes", LINEAR),
        NameRule(f"{predictor}.bbox_pred", "heads.boxes", LINEAR),
        NameRule(f"{predictor}.{embedding}.weight", "heads.class_embedding.weight", TENSOR),
        NameRule(f"{predictor}.{hidden}", "heads.attribute_hidden", LINEAR),
        NameRule(f"{predictor}.{attributes}", "heads.attributes", LINEAR),
    ]


# The LXMERT project of Hugging Face kept the names of airsplay/py-bottom-up-attention, a detectron2 with attributes;
# the detectron2 of MILVLG has other ones for the attribute head, and no anchors among its tensors.
NAME_MAPS = {
    "lxmert": NameMap(_rules("cls_embedding", "fc_attr", "attr_score"), _DROP),
    "detectron2": NameMap(_rules("cls_embed", "attr_linear1", "attr_linear2"), _DROP),
}


def convert_detector_weights(tensors: Mapping[str, np.ndarray], origin: str = "checkpoint") -> Converted:
    """Return the tensors of a published detector under our names. Raises InputError for other names."""
    plain = {re.sub(r"^(module|model)\.", "", name): value for name, value in tensors.items()}
    names = set(plain)
    if "roi_heads.box_predictor.cls_embedding.weight" in names:
        return NAME_MAPS["lxmert"].to_ours(plain)
    if "roi_heads.box_predictor.cls_embed.weight" in names:
        return NAME_MAPS["detectron2"].to_ours(plain)
    shown = ", ".join(sorted(names)[:3])
    raise InputError(
        f"{origin}: not a bottom-up detector with attribute head (Hugging Face's LXMERT or detectron2 names): it holds "
        f"{len(names)} tensors, e.g. {shown}"
    )
