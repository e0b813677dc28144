"""What the tasks of ViLBERT and 12-in-1 train and count: a head, a loss and a score for each, as pure functions.

Shapes: b records, a answers, c choices, r regions.
"""

from __future__ import annotations

from typing import Callable, Literal, NamedTuple

import paddle

from pyutils.losses import (
    IGNORE,
    masked_cross_entropy,
    masked_region_kl,
    masked_region_nce,
    masked_region_regression,
    mean_bce,
    vqa_bce,
)
from vilbert_paddle.network.heads import PretrainingScores

HIT_OVERLAP = 0.5
FIRST_CANDIDATE = 101  # Visual7w: the candidate boxes follow the global and the 100 detected regions

TEXT_INPUTS = ("input_ids", "text_mask", "token_type_ids", "task_ids")
REGION_INPUTS = ("region_features", "region_boxes", "region_mask")


def network_inputs(batch: dict[str, paddle.Tensor], images: int = 1) -> dict:
    """The arguments of `Vilbert.forward` in a batch of any layout, one row a pair.

    Text `[b, t]` or `[b, c, t]` (choices); regions `[b, r, …]`, `[b, c, r, …]` (a picture a choice), or with `images` 2
    `[b, 2 r, …]` (two pictures one after the other). Where a record has fewer pictures than texts or the reverse, they
    are paired "grouped": a picture with four answers is embedded once, and so is the sentence about two pictures.
    """
    inputs = {name: batch[name] for name in (*TEXT_INPUTS, *REGION_INPUTS) if name in batch}
    choices = inputs["input_ids"].ndim == 3
    a_picture_a_choice = inputs["region_features"].ndim == 4
    for name, value in inputs.items():
        text = name in TEXT_INPUTS
        if text and choices or not text and a_picture_a_choice:
            inputs[name] = value.reshape([-1, *value.shape[2:]])
        elif not text and images > 1:
            inputs[name] = value.reshape([value.shape[0] * images, value.shape[1] // images, *value.shape[2:]])
    if inputs["input_ids"].shape[0] != inputs["region_features"].shape[0]:
        inputs["pairing"] = "grouped"
    return inputs


def answer_scores(scores: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    """Soft score of the best-scored answer: both `[b, a]` → `[b]` float32. One-hot labels give 1 for a right answer."""
    best = scores.argmax(axis=1, keepdim=True)
    return paddle.take_along_axis(labels.astype("float32"), best, axis=1).squeeze(1)


def choice_hits(scores: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    """1 where the best-scored choice is the right one: `[b, c]` and `[b]` int64 → `[b]` float32."""
    return (scores.argmax(axis=1) == labels).astype("float32")


def overlap_hits(scores: paddle.Tensor, overlaps: paddle.Tensor) -> paddle.Tensor:
    """1 where the best-scored region overlaps the described box by more than half: both `[b, r]` → `[b]` float32."""
    return (answer_scores(scores, overlaps) > HIT_OVERLAP).astype("float32")


def candidate_hits(scores: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    """1 where the best-scored candidate is the one labelled highest: both `[b, c]` → `[b]` float32."""
    return (scores.argmax(axis=1) == labels.argmax(axis=1)).astype("float32")


def as_choices(scores: paddle.Tensor, choices: int) -> paddle.Tensor:
    """Scores of pairs `[b c]` as those of choices `[b, c]`."""
    return scores.reshape([-1, choices])


def candidate_scores(scores: paddle.Tensor, candidates: paddle.Tensor, first: int = FIRST_CANDIDATE) -> paddle.Tensor:
    """Scores of candidate boxes: `[b, r]` and `[b, c]` int64 positions counted from region `first` → `[b, c]`."""
    return paddle.take_along_axis(scores, candidates + first, axis=1)


class Objective(NamedTuple):
    """One kind of task: the head it reads, `loss(scores, labels)` → scalar, `score(scores, labels)` → `[b]` float32."""

    head: str
    loss: Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]
    score: Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]


OBJECTIVES: dict[str, Objective] = {
    "vqa": Objective("vqa", vqa_bce, answer_scores),  # labels: soft scores [b, a]
    "gqa": Objective("gqa", vqa_bce, answer_scores),
    "pair": Objective("pair", mean_bce, answer_scores),  # labels: one-hot [b, 2]
    "entailment": Objective("entailment", mean_bce, answer_scores),  # labels: one-hot [b, 3]
    "choice": Objective("match", masked_cross_entropy, choice_hits),  # scores through as_choices; labels [b]
    "refer": Objective("region", vqa_bce, overlap_hits),  # labels: overlaps [b, r]
    "pointing": Objective("region", vqa_bce, candidate_hits),  # scores through candidate_scores; labels [b, c]
}

VisualTarget = Literal["classes", "features", "nce"]
PretrainingObjective = Literal["all", "aligned_only", "no_alignment"]


class PretrainingLabels(NamedTuple):
    """What pre-training predicts.

    `words` `[b, t]` int64, `IGNORE` where nothing was masked; `masked_regions` `[b, r]` bool or 0/1, `regions`
    `[b, r, d]` float32 class distributions or features (both without the global region); `unpaired` `[b]` int64: 1 =
    the caption is another picture's; `negatives` `[b, r, k]` int64 for target "nce" (`negatives.region_negatives`).
    """

    words: paddle.Tensor
    masked_regions: paddle.Tensor
    regions: paddle.Tensor
    unpaired: paddle.Tensor
    negatives: paddle.Tensor | None = None


def pretraining_losses(
    scores: PretrainingScores,
    labels: PretrainingLabels,
    target: VisualTarget = "classes",
    objective: PretrainingObjective = "all",
) -> dict[str, paddle.Tensor]:
    """Losses of pre-training by name, to be summed: `words`, `regions`, `alignment` (scalars; 0 with nothing masked).

    `scores` of all positions, region 0 the global one. `objective`: "aligned_only" learns words and regions from
    captions of the picture only, "no_alignment" leaves that loss out.
    """
    words, masked = labels.words, labels.masked_regions.astype("float32")
    if objective == "aligned_only":
        paired = (labels.unpaired == 0).unsqueeze(-1)
        words = paddle.where(paired, words, paddle.full_like(words, IGNORE))
        masked = masked * paired.astype("float32")
    losses = {
        "words": masked_cross_entropy(scores.words, words),
        "regions": region_loss(scores.regions[:, 1:], labels.regions, masked, target, labels.negatives),
    }
    if objective != "no_alignment":
        losses["alignment"] = masked_cross_entropy(scores.alignment, labels.unpaired)
    return losses


def region_loss(
    predicted: paddle.Tensor,
    regions: paddle.Tensor,
    masked: paddle.Tensor,
    target: VisualTarget,
    negatives: paddle.Tensor | None = None,
) -> paddle.Tensor:
    """Loss of the masked regions (paper, section 3.1; "features" and "nce": 12-in-1's code): `predicted` and `regions`
    `[b, r, d]`, `masked` `[b, r]`, `negatives` `[b, r, k]`. Scalar, 0 when none is masked."""
    if target == "nce":
        return masked_region_nce(predicted, regions, negatives, masked)
    return (masked_region_kl if target == "classes" else masked_region_regression)(predicted, regions, masked)
