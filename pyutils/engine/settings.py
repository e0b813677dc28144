"""`TrainConfig`, the `train:` section of every configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyutils.config import setting
from pyutils.config.checks import at_least
from pyutils.optim import OptimizerConfig
from pyutils.schedule import ScheduleConfig


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the engine. Steps are optimizer steps, not micro-batches."""

    epochs: int = setting(10, "Passes over the training split.")
    max_steps: int = setting(0, "Stop after this many steps even if epochs are left; 0: no limit.")
    batch_size: int = setting(16, "Records per micro-batch and process.")
    eval_batch_size: int = setting(0, "Records per evaluation batch and process; 0: batch_size.")
    accumulation_steps: int = setting(1, "Micro-batches averaged into one optimizer step.")
    workers: int = setting(2, "Data worker processes per training process; 0: load data in the training process.")
    seed: int = setting(42, "Seed of the data order, initial weights and dropout.")
    precision: Literal["fp32", "bf16", "fp16"] = setting(
        "fp32", "Arithmetic of the forward pass on a GPU: fp32, bf16 (recommended) or fp16 with loss scaling."
    )
    recompute: bool = setting(False, "Recompute activations in the backward pass: less GPU memory, more time.")
    non_finite: Literal["stop", "skip"] = setting(
        "stop", "On an infinite or NaN loss or gradient: stop with an error, or skip the step."
    )
    eval_split: str = setting("val", "Split evaluated during training; empty: none.")
    evaluate_before_training: bool = setting(False, "Evaluate once before the first step.")
    eval_every_epochs: int = setting(1, "Evaluate every N epochs and at the end; 0: never.")
    eval_every_steps: int = setting(0, "Also evaluate every N steps; 0: never.")
    save_every_steps: int = setting(0, "Also write the checkpoint `last` every N steps; 0: at epoch ends only.")
    keep_every_steps: bool = setting(False, "Also keep each of those checkpoints, as step_<number>.")
    checkpoint_format: Literal["safetensors", "pdparams"] = setting(
        "safetensors", "Weight file of a checkpoint: model.safetensors or model.pdparams."
    )
    silent_after: float = setting(
        120.0, "Several processes: end when one of them has given no sign of life for these seconds; 0: never."
    )
    log_every: int = setting(50, "Log every N steps.")
    scalars: bool = setting(True, "Draw scalars on the boards while training; log.jsonl is always written.")
    boards: tuple[str, ...] = setting(
        ("visualdl",), "Boards: visualdl (<output_dir>/vdl), tensorboard (<output_dir>/tensorboard), module:function."
    )
    optimizer: OptimizerConfig = setting(OptimizerConfig, "The optimizer.")
    schedule: ScheduleConfig = setting(ScheduleConfig, "The learning rate over time.")

    def __post_init__(self) -> None:
        at_least(self, 1, "epochs", "batch_size", "accumulation_steps", "log_every")
        at_least(self, 0, "max_steps", "eval_batch_size", "workers", "seed")
        at_least(self, 0, "eval_every_epochs", "eval_every_steps", "save_every_steps", "silent_after")

    @property
    def evaluates(self) -> bool:
        """True if training evaluates `eval_split` at some step."""
        due = self.eval_every_epochs or self.eval_every_steps or self.evaluate_before_training
        return bool(self.eval_split and due)

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the whole run."""
        planned = self.epochs * steps_per_epoch
        return min(planned, self.max_steps) if self.max_steps else planned
