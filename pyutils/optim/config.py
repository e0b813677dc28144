"""What a run says about its optimizer: rule, rates, decay groups, clipping."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple  # noqa: UP035  (resolved at run time on Python 3.9)

# Biases, and every parameter of a layer whose name says that it normalises (LayerNorm, norm1, layer_norm …).
NO_DECAY: tuple[str, ...] = (r"(^|\.)bias$", r"(?i)norm[^.]*\.(weight|bias)$")


@dataclass
class OptimizerConfig:
    """Settings of `build_optimizer`. Regular expressions are searched (`re.search`) in structured parameter names."""

    name: str = "adamw"
    """Update rule: a key of `pyutils.optim.RULES`, or `lookahead_<rule>`."""
    lr: Optional[float] = 2e-5
    """Base learning rate; the schedule's multiplier comes on top. Empty lets adafactor choose its own step size."""
    weight_decay: float = 0.01
    """Weight decay of every parameter that no `no_decay` pattern names."""
    betas: Optional[Tuple[float, float]] = None
    """Decay rates of the first and second moment; empty takes the rule's own."""
    eps: Optional[float] = None
    """Guard against division by zero; empty takes the rule's own."""
    momentum: float = 0.9
    """Momentum of sgd, momentum, sgdp, rmsprop and rmsprop_tf."""
    correct_bias: bool = True
    """Bias correction of adamw_transformers; false as in the fine-tuning of ViLBERT."""
    options: Dict[str, float] = field(default_factory=dict)
    """Further arguments of the rule by name, e.g. `{clip_threshold: 0.5}` for adafactor."""
    no_decay: List[str] = field(default_factory=lambda: list(NO_DECAY))
    """Patterns of the parameters without weight decay."""
    lr_multipliers: Dict[str, float] = field(default_factory=dict)
    """Pattern -> factor on the learning rate; of several patterns that match, the last one counts."""
    frozen: List[str] = field(default_factory=list)
    """Patterns of the parameters that are not trained at all (neither moved nor decayed)."""
    clip: str = "default"
    """Gradient clipping: `global` norm, `per_parameter` norm, `none`, or `default` (the rule's own)."""
    clip_norm: float = 1.0
    """Norm that gradients are clipped to."""
