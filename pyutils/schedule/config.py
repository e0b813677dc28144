"""Configuration of the learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional

from pyutils.config import setting
from pyutils.config.checks import at_least, at_most, one_of

STEP_SCHEDULES = ("linear", "cosine", "constant", "bert_adam", "milestones", "vilbert_original")
SCHEDULES = (*STEP_SCHEDULES, "albef_cosine", "albef_tanh", "albef_step", "albef_plateau")


@dataclass(frozen=True)
class EpochConfig:
    """ALBEF's schedules, constant within an epoch (`schedular` in its configuration files)."""

    min_lr: float = setting(1e-6, "Lowest learning rate.")
    warmup_lr: float = setting(1e-5, "Learning rate at the start of the warm-up.")
    warmup_epochs: int = setting(1, "Warm-up, in blocks of `warmup_block` iterations of the first epoch.")
    warmup_block: int = setting(100, "Iterations of one warm-up block.")
    epochs: Optional[int] = setting(None, "Length of one cycle in epochs; empty: the run's epochs.")
    cooldown_epochs: int = setting(0, "Ignored (kept for ALBEF's files): after the last cycle the rate stays min_lr.")
    decay_rate: float = setting(1.0, "Factor on the rate per cosine cycle, per step or per plateau.")
    decay_epochs: float = setting(30.0, "Epochs between two steps of albef_step.")
    patience_epochs: int = setting(10, "Epochs without improvement before albef_plateau lowers the rate.")
    higher_is_better: bool = setting(True, "Direction of the metric of albef_plateau.")
    cycle_mul: float = setting(1.0, "Length of each cycle relative to the one before.")
    cycle_limit: int = setting(1, "Number of cycles; 0: no limit.")
    noise: list[float] = setting([], "Fractions of the epochs where noise starts and ends; empty: no noise.")
    noise_pct: float = setting(0.67, "Largest relative size of the noise.")
    noise_seed: int = setting(42, "Seed of the noise.")


@dataclass(frozen=True)
class ScheduleConfig:
    """Settings of `build_schedule`."""

    name: str = setting("linear", "linear, cosine, constant, bert_adam, milestones, vilbert_original, albef_cosine, …")
    warmup: float = setting(0.1, "Warm-up from 0 as a fraction of all steps.")
    warmup_steps: Optional[float] = setting(None, "Warm-up in steps, instead of the fraction.")
    warmup_epochs: Optional[float] = setting(None, "Warm-up in epochs, instead of the fraction.")
    first_step: Literal[0, 1] = setting(
        0, "Number of the first step: with 0 its rate is 0, with 1 the rate of the last step is 0."
    )
    min_lr: float = setting(0.0, "Learning rate at the end of cosine.")
    milestones: list[int] = setting([12, 16], "Epochs at which milestones and vilbert_original lower the rate.")
    gamma: float = setting(0.1, "Factor at each milestone.")
    albef: EpochConfig = setting(EpochConfig, "Settings of albef_cosine, albef_tanh, albef_step and albef_plateau.")

    def __post_init__(self) -> None:
        one_of(self, "name", SCHEDULES)
        if self.warmup_steps is None and self.warmup_epochs is None:
            at_least(self, 0, "warmup")
            at_most(self, 1, "warmup")
