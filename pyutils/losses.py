"""Losses as pure functions. Shapes: B batch, T tokens, C classes, A answers, R regions; Q queue length.

Every function computes in float32 whatever the inputs' precision, so that mixed precision leaves losses alone, and
divides by the number of valid entries itself, because Paddle's own reductions differ between releases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import paddle
import paddle.nn.functional as F

if TYPE_CHECKING:
    from paddle import Tensor

IGNORE = -100


def _mean_over(values: Tensor, valid: Tensor) -> Tensor:
    """Sum of `values` where `valid` (float32 0/1, same shape) over their number; 0 when there is none."""
    return paddle.sum(values * valid) / paddle.clip(paddle.sum(valid), min=1.0)


def masked_cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int = IGNORE, smoothing: float = 0.0) -> Tensor:
    """Cross entropy averaged over the labels that are not `ignore_index`; 0, with zero gradients, when there is none.

    logits `[..., C]` float, labels `[...]` int64, smoothing in [0, 1): share of the target spread evenly over all
    classes. Returns a float32 scalar.
    """
    valid = (labels != ignore_index).astype("float32")
    classes = paddle.where(labels != ignore_index, labels, paddle.zeros_like(labels))
    log_probs = F.log_softmax(logits.astype("float32"), axis=-1)
    losses = -paddle.take_along_axis(log_probs, classes.unsqueeze(-1), axis=-1).squeeze(-1)
    if smoothing:
        losses = (1.0 - smoothing) * losses - smoothing * log_probs.mean(axis=-1)
    return _mean_over(losses, valid)


def soft_target_cross_entropy(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    """`-sum(targets * log_softmax(logits))` over the classes, averaged over the rows that `valid` marks.

    logits and targets `[..., C]` float, valid `[...]` bool or 0/1 (default: every row). Returns a float32 scalar, 0 when
    no row is valid.
    """
    losses = -paddle.sum(targets.astype("float32") * F.log_softmax(logits.astype("float32"), axis=-1), axis=-1)
    if valid is None:
        return losses.mean()
    return _mean_over(losses, valid.astype("float32"))


def vqa_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy with logits, summed over the answers and averaged over the batch.

    logits `[B, A]`, targets `[B, A]` soft scores in [0, 1]. Equals the mean over all entries times A.
    """
    mean = F.binary_cross_entropy_with_logits(logits.astype("float32"), targets.astype("float32"), reduction="mean")
    return mean * logits.shape[-1]


def kl_unnormalised(logits: Tensor, targets: Tensor) -> Tensor:
    """`sum(t log t - t log_softmax(logits))` over all entries divided by the batch; 0 log 0 counts 0.

    logits and targets `[B, ...]`, classes last; targets need not sum to 1 (VQA scores of VisualBERT's authors; phrase
    targets `[B, phrases, R]`, whose rows of padding are all 0). A logit of the float minimum is harmless where the target
    is 0.
    """
    targets = targets.astype("float32")
    log_probs = F.log_softmax(logits.astype("float32"), axis=-1)
    present = targets > 0
    safe = paddle.where(present, targets, paddle.ones_like(targets))
    terms = paddle.where(present, targets * (paddle.log(safe) - log_probs), paddle.zeros_like(targets))
    return paddle.sum(terms) / logits.shape[0]
