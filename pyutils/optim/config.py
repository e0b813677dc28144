"""Configuration of the optimizer: update rule, learning rate, weight decay, clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Optional

from pyutils.config import setting
from pyutils.config.checks import above, at_least, regular_expressions, share

# Biases, and every parameter of a layer whose name says that it normalises (LayerNorm, norm1, layer_norm …).
NO_DECAY: tuple[str, ...] = (r"(^|\.)bias$", r"(?i)norm[^.]*\.(weight|bias)$")


@dataclass(frozen=True)
class OptimizerConfig:
    """Settings of `build_optimizer`. Patterns are regular expressions, searched in structured parameter names."""

    name: str = setting("adamw", "Update rule (docs/optimizers.md lists them), or lookahead_<rule>.")
    lr: Optional[float] = setting(2e-5, "Base learning rate; empty: adafactor finds its own.")
    weight_decay: float = setting(0.01, "Weight decay of the parameters that no pattern of no_decay matches.")
    betas: Optional[tuple[float, float]] = setting(None, "Decay rates of the two moments; empty: the rule's own.")
    eps: Optional[float] = setting(None, "Added to denominators; empty: the rule's own.")
    momentum: float = setting(0.9, "Momentum of sgd, momentum, sgdp, rmsprop and rmsprop_tf.")
    correct_bias: bool = setting(True, "Bias correction of adamw_transformers; false as in ViLBERT's fine-tuning.")
    options: dict[str, Any] = setting({}, "Further arguments of the rule by name, e.g. clip_threshold of adafactor.")
    no_decay: list[str] = setting(list(NO_DECAY), "Patterns of the parameters without weight decay.")
    lr_multipliers: dict[str, float] = setting(
        {}, "Pattern: factor on the learning rate; of several matches the last one counts."
    )
    frozen: list[str] = setting([], "Patterns of the parameters that are not trained.")
    clip: Literal["default", "global", "per_parameter", "none"] = setting(
        "default", "Gradient clipping: by the norm of all gradients, of each one, not at all, or as the rule does."
    )
    clip_norm: float = setting(1.0, "Norm that gradients are clipped to.")

    def __post_init__(self) -> None:
        above(self, 0, "lr", "clip_norm")
        at_least(self, 0, "weight_decay", "eps")
        share(self, "betas")
        regular_expressions(self, "no_decay", "lr_multipliers", "frozen")
