"""Objectives of ViLBERT and 12-in-1: the head and the loss of each task, and the losses of pre-training.

Shapes: b records, a answers, c choices, r regions.
"""

from __future__ import annotations

from typing import Callable, Literal, NamedTuple

import paddle

from pyutils.losses import (
    masked_cross_entropy,
    masked_region_kl,
    masked_region_nce,
    masked_region_regression,
    mean_bce,
    vqa_bce,
)
from vilbert_paddle.network.heads import PretrainingScores

TEXT_INPUTS = ("input_ids", "text_mask", "token_type_ids", "task_ids")
REGION_INPUTS = ("region_features", "region_boxes", "region_mask")


def network_inputs(batch: dict[str, paddle.Tensor]) -> dict:
    """Select the arguments of `Vilbert.forward` from a batch and flatten them to one row per text or image.

    Text `[b, t]` or `[b, c, t]` (choices); regions `[b, r, …]` or `[b, c, r, …]` (an image per choice, or the two
    images of a sentence). Where a record has fewer images than texts or the reverse, they are paired "grouped": an
    image with four answers is embedded once, and so is the sentence about two images.
    """
    inputs = {name: batch[name] for name in (*TEXT_INPUTS, *REGION_INPUTS) if name in batch}
    text_choices, image_choices = inputs["input_ids"].ndim == 3, inputs["region_features"].ndim == 4
    for name, value in inputs.items():
        if text_choices if name in TEXT_INPUTS else image_choices:
            inputs[name] = value.reshape([-1, *value.shape[2:]])
    if inputs["input_ids"].shape[0] != inputs["region_features"].shape[0]:
        inputs["pairing"] = "grouped"
    return inputs


def as_choices(scores: paddle.Tensor, choices: int) -> paddle.Tensor:
    """Reshape the scores of pairs `[b c]` to those of choices `[b, c]`."""
    return scores.reshape([-1, choices])


class Objective(NamedTuple):
    """One kind of task: the head it reads and `loss(scores, labels)` → scalar."""

    head: str
    loss: Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]


OBJECTIVES: dict[str, Objective] = {
    "vqa": Objective("vqa", vqa_bce),  # labels: soft scores [b, a]
    "pair": Objective("pair", mean_bce),  # labels: one-hot [b, 2]
    "entailment": Objective("entailment", mean_bce),  # labels: one-hot [b, 3]
    "choice": Objective("match", masked_cross_entropy),  # scores through as_choices; labels [b]
    "refer": Objective("region", vqa_bce),  # labels: overlaps [b, r]
}

VisualTarget = Literal["classes", "features", "nce"]


class PretrainingLabels(NamedTuple):
    """Targets of pre-training.

    `words` `[b, t]` int64, `IGNORE` where nothing was masked; `masked_regions` `[b, r]` bool or 0/1, `regions`
    `[b, r, d]` float32 class distributions or features (both without the global region); `unpaired` `[b]` int64: 1 =
    the caption is that of another image; `negatives` `[b, r, k]` int64 for target "nce" (`masking.region_negatives`).
    """

    words: paddle.Tensor
    masked_regions: paddle.Tensor
    regions: paddle.Tensor
    unpaired: paddle.Tensor
    negatives: paddle.Tensor | None = None


def pretraining_losses(
    scores: PretrainingScores, labels: PretrainingLabels, target: VisualTarget = "classes", alignment: bool = True
) -> dict[str, paddle.Tensor]:
    """Losses of pre-training by name, to be summed: `words`, `regions` and, if wanted, `alignment`.

    `scores.regions` has the global region first. `target`: see the paper, section 3.1; "features" and "nce" are from
    12-in-1's code. Scalars, 0 with nothing masked.
    """
    regions, masked = scores.regions[:, 1:], labels.masked_regions.astype("float32")
    if target == "nce":
        region_loss = masked_region_nce(regions, labels.regions, labels.negatives, masked)
    else:
        rule = masked_region_kl if target == "classes" else masked_region_regression
        region_loss = rule(regions, labels.regions, masked)
    losses = {"words": masked_cross_entropy(scores.words, labels.words), "regions": region_loss}
    if alignment:
        losses["alignment"] = masked_cross_entropy(scores.alignment, labels.unpaired)
    return losses
