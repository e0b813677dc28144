"""Losses as pure functions. Shapes: B batch, C classes, A answers, R regions, D feature size, Q queue length.

Every function computes in float32 and divides by the number of valid entries itself, because Paddle's reductions differ
between releases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import paddle
import paddle.nn.functional as F

if TYPE_CHECKING:
    from paddle import Tensor

IGNORE = -100
_SMOOTH = 1e-4  # ALBEF adds it to similarities before they become sampling weights


def mean_where(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of `values` where `valid` (bool or 0/1, same shape); 0 without any."""
    valid = valid.astype("float32")
    return paddle.sum(values * valid) / paddle.clip(paddle.sum(valid), min=1.0)


def log_softmax(logits: Tensor) -> Tensor:
    """log softmax over the last axis, any shape."""
    # Paddle's CPU kernel is quadratic in the number of classes: 14 s for 64 tokens and a vocabulary of 30,522.
    if not logits.place.is_cpu_place():
        return F.log_softmax(logits, axis=-1)
    shifted = logits - logits.detach().max(axis=-1, keepdim=True)
    return shifted - shifted.exp().sum(axis=-1, keepdim=True).log()


def token_losses(logits: Tensor, labels: Tensor, ignore_index: int = IGNORE, smoothing: float = 0.0) -> Tensor:
    """Cross entropy of every label, 0 at `ignore_index`.

    logits `[..., C]` float, labels `[...]` int64, smoothing in [0, 1): label smoothing. Returns float32 `[...]`.
    """
    valid = labels != ignore_index
    classes = paddle.where(valid, labels, paddle.zeros_like(labels))
    log_probs = log_softmax(logits.astype("float32"))
    losses = -paddle.take_along_axis(log_probs, classes.unsqueeze(-1), axis=-1).squeeze(-1)
    if smoothing:
        losses = (1.0 - smoothing) * losses - smoothing * log_probs.mean(axis=-1)
    return losses * valid.astype("float32")


def masked_cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int = IGNORE, smoothing: float = 0.0) -> Tensor:
    """Mean of `token_losses` over the labels other than `ignore_index`; 0, with zero gradients, without any.

    Returns a float32 scalar.
    """
    return mean_where(token_losses(logits, labels, ignore_index, smoothing), labels != ignore_index)


def soft_token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """`-sum(targets log_softmax(logits))` over the classes; logits and targets `[..., C]`, returns float32 `[...]`."""
    return -paddle.sum(targets.astype("float32") * log_softmax(logits.astype("float32")), axis=-1)


def soft_target_cross_entropy(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean of `soft_token_losses` over the rows of `valid`.

    logits and targets `[..., C]` float, valid `[...]` bool or 0/1 (default: all). Returns a float32 scalar, 0 without a
    valid row.
    """
    losses = soft_token_losses(logits, targets)
    return losses.mean() if valid is None else mean_where(losses, valid)


def distilled_cross_entropy(logits: Tensor, labels: Tensor, teacher: Tensor, alpha: float | Tensor) -> Tensor:
    """(1 - alpha) hard + alpha soft cross entropy of the labelled tokens: momentum distillation (ALBEF, §3.3, eq. 7).

    logits and teacher logits `[..., C]`, labels `[...]` int64 with `IGNORE` elsewhere. No gradient reaches the teacher.
    """
    targets = F.softmax(teacher.detach().astype("float32"), axis=-1)
    soft = soft_target_cross_entropy(logits, targets, labels != IGNORE)
    return (1.0 - alpha) * masked_cross_entropy(logits, labels) + alpha * soft


def mean_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy with logits, mean over all entries; logits and targets in [0, 1] of one shape."""
    return F.binary_cross_entropy_with_logits(logits.astype("float32"), targets.astype("float32"), reduction="mean")


def vqa_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy with logits, sum over the last axis, mean over the others.

    logits and targets (soft scores in [0, 1]) `[B, A]`, or `[B, R]` for ViLBERT's grounding.
    """
    return mean_bce(logits, targets) * logits.shape[-1]


def kl_unnormalised(logits: Tensor, targets: Tensor) -> Tensor:
    """`sum(t log t - t log_softmax(logits))` over all entries divided by the batch size, with 0 log 0 = 0.

    logits and targets `[B, ...]`, classes last; targets need not sum to 1 (VQA scores of VisualBERT's authors; phrase
    targets `[B, phrases, R]` with zero rows as padding). Where a target is 0, a logit may be the float minimum.
    """
    return paddle.sum(_kl_terms(logits, targets)) / logits.shape[0]


def _kl_terms(logits: Tensor, targets: Tensor) -> Tensor:
    targets = targets.astype("float32")
    log_probs = log_softmax(logits.astype("float32"))
    present = targets > 0
    safe = paddle.where(present, targets, paddle.ones_like(targets))
    return paddle.where(present, targets * (paddle.log(safe) - log_probs), paddle.zeros_like(targets))


def masked_region_kl(logits: Tensor, targets: Tensor, masked: Tensor) -> Tensor:
    """KL divergence from the detector's class distribution, mean over the masked regions (ViLBERT, §3.1).

    logits and targets `[B, R, C]`, masked `[B, R]` bool or 0/1. Returns a float32 scalar, 0 without a masked region.
    """
    return mean_where(paddle.sum(_kl_terms(logits, targets), axis=-1), masked)


def masked_region_regression(predicted: Tensor, features: Tensor, masked: Tensor) -> Tensor:
    """Mean squared error of the features of the masked regions.

    predicted and features `[B, R, D]`, masked `[B, R]` bool or 0/1. Returns a float32 scalar, 0 without a masked
    region.
    """
    errors = paddle.square(predicted.astype("float32") - features.astype("float32"))
    return mean_where(errors.mean(axis=-1), masked)


def masked_region_nce(predicted: Tensor, features: Tensor, negatives: Tensor, masked: Tensor) -> Tensor:
    """Noise-contrastive loss: cross entropy of [own feature, negatives] · prediction, own first.

    predicted and features `[B, R, D]`, negatives `[B, R, K]` int64 rows of `features` as `[B R, D]`, masked `[B, R]`
    bool or 0/1. Returns the mean over the masked regions, 0 without any.
    """
    batch, regions, size = features.shape
    others = paddle.gather(features.reshape([-1, size]), negatives.reshape([-1]))
    candidates = paddle.concat([features.unsqueeze(2), others.reshape([batch, regions, -1, size])], axis=2)
    scores = paddle.sum(candidates.astype("float32") * predicted.astype("float32").unsqueeze(2), axis=-1)  # [B, R, K+1]
    return mean_where(-log_softmax(scores)[:, :, 0], masked)


def contrastive_positives(identities: Tensor, all_identities: Tensor) -> Tensor:
    """Equal identities: `[B]` and `[B + Q]` int64 -> `[B, B + Q]` float32, normalised to rows of sum 1."""
    same = (identities.unsqueeze(1) == all_identities.unsqueeze(0)).astype("float32")
    return same / same.sum(axis=1, keepdim=True)


def contrastive_targets(teacher_similarities: Tensor, positives: Tensor, alpha: float | Tensor) -> Tensor:
    """alpha softmax(teacher) + (1 - alpha) positives (ALBEF, §3.3, eq. 6).

    teacher_similarities (divided by the temperature) and positives `[B, B + Q]`. Returns float32 of that shape without
    gradient.
    """
    teacher = F.softmax(teacher_similarities.detach().astype("float32"), axis=1)
    return alpha * teacher + (1.0 - alpha) * positives.astype("float32")


def itc_loss(image_to_text: Tensor, text_to_image: Tensor, image_targets: Tensor, text_targets: Tensor) -> Tensor:
    """Image-text contrastive loss (ITC; ALBEF, §3.2, eq. 2): mean soft cross entropy of both directions.

    All `[B, B + Q]`: similarities divided by the temperature, and their target distributions.
    """
    first = soft_target_cross_entropy(image_to_text, image_targets)
    return (first + soft_target_cross_entropy(text_to_image, text_targets)) / 2.0


def hard_negative_weights(similarities: Tensor, positives: Tensor) -> Tensor:
    """Sampling weights of in-batch negatives: softmax(similarities + 1e-4), 0 where a pair is positive (ALBEF, §3.2).

    similarities `[B, B]` divided by the temperature, positives `[B, B]` bool or 0/1. Returns float32 without gradient.
    """
    weights = F.softmax(similarities.detach().astype("float32") + _SMOOTH, axis=1)
    return paddle.where(positives.astype("bool"), paddle.zeros_like(weights), weights)
