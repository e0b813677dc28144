"""The flags that users of the original scripts type, and where the default configurations are."""

from __future__ import annotations

from pathlib import Path

from pyutils.cli import Flag

DEFAULT_CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "visualbert"

COMMON_FLAGS = [
    Flag("--model_type", None, choices=("visualbert",), help="accepted as the original has it"),
    Flag("--model_name_or_path", "init", help="weights to start from"),
    Flag("--image_feature_type", None, help="accepted as the original has it; regions.path says which features"),
    Flag(("--batch_size", "--train_batch_size"), "train.batch_size", type=int),
    Flag("--learning_rate", "train.optimizer.lr", type=float),
    Flag("--weight_decay", "train.optimizer.weight_decay", type=float),
    Flag("--warmup_proportion", "train.schedule.warmup", type=float),
    Flag("--num_train_epochs", "train.epochs", type=int),
    Flag("--max_steps", "train.max_steps", type=int),
    Flag("--gradient_accumulation_steps", "train.accumulation_steps", type=int),
    Flag("--save_steps", "train.save_every_steps", type=int),
    Flag("--logging_steps", "train.log_every", type=int),
    Flag("--num_workers", "train.workers", type=int),
]
