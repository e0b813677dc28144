"""Optimizers: one class, many update rules, states keyed by structured parameter names.

optimizer = build_optimizer(OptimizerConfig(name="adamw", lr=1e-4), dict(model.named_parameters()))
optimizer.set_lr(rate); loss.backward(); optimizer.step(); optimizer.clear_grad()
"""

from __future__ import annotations

from pyutils.optim.base import Optimizer, Trained
from pyutils.optim.build import RULES, build_optimizer, build_rule, trained_parameters
from pyutils.optim.config import NO_DECAY, OptimizerConfig

__all__ = [
    "NO_DECAY",
    "RULES",
    "Optimizer",
    "OptimizerConfig",
    "Trained",
    "build_optimizer",
    "build_rule",
    "trained_parameters",
]
