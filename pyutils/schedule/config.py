"""What a run says about its learning rate over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional

from pyutils.config import setting


@dataclass(frozen=True)
class EpochConfig:
    """ALBEF's schedule, constant within an epoch: what its configuration files call `schedular`."""

    min_lr: float = setting(1e-6, "Lowest rate.")
    warmup_lr: float = setting(1e-5, "Rate that warm-up starts from.")
    warmup_epochs: int = setting(1, "Warm-up, in blocks of `warmup_block` iterations of the first epoch.")
    warmup_block: int = setting(100, "Iterations of one warm-up block.")
    epochs: Optional[int] = setting(None, "Length of one cycle in epochs; empty: the run's epochs.")
    cooldown_epochs: int = setting(0, "Epochs at the lowest rate after the last cycle.")
    decay_rate: float = setting(1.0, "Factor: of each further cosine cycle, of each step, of each plateau.")
    decay_epochs: float = setting(30.0, "Epochs between two decays of albef_step.")
    patience_epochs: int = setting(10, "Epochs without improvement that albef_plateau bears.")
    higher_is_better: bool = setting(True, "Direction of the metric that albef_plateau watches.")
    cycle_mul: float = setting(1.0, "Each cycle is so many times as long as the one before.")
    cycle_limit: int = setting(1, "Number of cycles; 0: no limit.")
    noise: list[float] = setting([], "Share of the epochs where noise starts, or starts and ends; empty: no noise.")
    noise_pct: float = setting(0.67, "Largest relative size of the noise.")
    noise_seed: int = setting(42, "Seed of the noise.")


@dataclass(frozen=True)
class ScheduleConfig:
    """Settings of `build_schedule`."""

    name: str = setting("linear", "linear, cosine, constant, bert_adam, milestones, vilbert_original, albef_cosine, …")
    warmup: float = setting(0.1, "Warm-up from 0 as a share of all steps.")
    warmup_steps: Optional[float] = setting(None, "Warm-up in steps, in place of the share.")
    warmup_epochs: Optional[float] = setting(None, "Warm-up in epochs, in place of the share.")
    first_step: Literal[0, 1] = setting(0, "Number of the first step: 0 gives it rate 0, 1 gives the last one rate 0.")
    min_lr: float = setting(0.0, "Rate at the end of cosine.")
    milestones: list[int] = setting([12, 16], "Epochs at which milestones and vilbert_original reduce the rate.")
    gamma: float = setting(0.1, "Factor at each milestone.")
    albef: EpochConfig = setting(EpochConfig, "Settings of albef_cosine, albef_tanh, albef_step and albef_plateau.")
