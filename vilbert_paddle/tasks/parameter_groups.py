"""Parameter groups of the originals, as patterns on our names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from pyutils.optim import OptimizerConfig
from pyutils.optim.config import NO_DECAY
from vilbert_paddle.network.heads import PRETRAINING

DecayRule = Literal["default", "original", "inverted"]
HeadRates = Literal["new_heads", "original", "everything", "none"]

NEW_HEAD_LR = 1e-4
# Heads whose names begin with "vil_" in the original: its test for new heads misses the others.
VIL_HEADS = ("vqa", "gqa", "pair", "entailment", "match")

# The original searches names for "bias" and "LayerNorm.weight", which misses the norms of the co-attention (LayerNorm1,
# LayerNorm2) and of the classifiers (logit_fc.2).
_FOUND_BY_NAME = (
    r".*\bbias$",
    r"encoder\.(?!connections\.\d+\.\w+\.attention\.).*\bnorm\.weight$",
    r"heads\.masked_(words|regions)\..*\bnorm\.weight$",
)
DECAY_RULES: dict[str, tuple[str, ...]] = {
    "default": NO_DECAY,
    "original": tuple(f"^{pattern}" for pattern in _FOUND_BY_NAME),
    # The old Paddle port decays exactly the parameters that it means to exclude.
    "inverted": (f"^(?!{'|'.join(_FOUND_BY_NAME)})",),
}


def with_groups(
    optimizer: OptimizerConfig,
    heads: Iterable[str],
    decay: DecayRule = "default",
    rates: HeadRates = "new_heads",
    new_head_lr: float = NEW_HEAD_LR,
) -> OptimizerConfig:
    """Set the patterns of weight decay and learning rates in `optimizer` for a model with `heads`.

    `decay`, unless the optimizer has patterns of its own: "default" exempts biases and all norms; "original" and
    "inverted" are the rules of the authors' scripts and of the old Paddle port. `rates`: `new_head_lr` for the heads
    that pre-training does not have ("new_heads"), for those that the authors' scripts find ("original"), for every
    parameter ("everything", their --vision_scratch), or for none.
    """
    fresh = [name for name in heads if name not in PRETRAINING]
    chosen = {"new_heads": fresh, "original": [name for name in fresh if name in VIL_HEADS]}.get(rates, [])
    pattern = "^" if rates == "everything" else rf"^heads\.({'|'.join(chosen)})\." if chosen else None
    multipliers = {}
    if pattern is not None:
        assert optimizer.lr is not None
        multipliers = {pattern: new_head_lr / optimizer.lr}
    own = tuple(optimizer.no_decay) != NO_DECAY  # the configuration's patterns come before the preset
    return replace(
        optimizer,
        no_decay=optimizer.no_decay if own else list(DECAY_RULES[decay]),
        lr_multipliers={**multipliers, **optimizer.lr_multipliers},
    )
