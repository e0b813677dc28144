"""The flags that users of the original scripts type, and where the default configurations are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pyutils.config import Override
from pyutils.config.command_line import Flag, Run

DEFAULT_CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "visualbert"

# The originals' names of region sets: folder below --input_dir, dimension, regions an image.
REGION_SETS = {
    "coco_detectron_fix_100": ("data/detectron_fix_100", 2048, 100),
    "coco_detectron_fix_144": ("data/detectron_fix_144", 1024, 144),
    "nlvr2_detectron_fix_144": ("data/detectron_fix_144", 1024, 144),
}
DEFAULT_REGIONS = "coco_detectron_fix_100"

COMMON_FLAGS = [
    Flag("--model_type", None, choices=("visualbert",), help="accepted as the original has it"),
    Flag("--model_name_or_path", "init", help="weights to start from"),
    Flag("--image_feature_type", None, help="accepted as the original has it; regions.path says which features"),
    Flag(("--batch_size", "--train_batch_size"), "train.batch_size", type=int),
    Flag("--eval_batch_size", "train.eval_batch_size", type=int),
    Flag("--max_seq_length", "max_text", type=int),
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


def place_regions(run: Run) -> Run:
    """`run` with `--input_dir` and `--image_feature_type`, which only say together where the regions are, as settings.

    They come before what `--set` says. The type alone sets dimension and number of regions; the folder alone is taken
    to hold the type of the original's default.
    """
    kind, folder = run.extra.get("image_feature_type"), run.extra.get("input_dir")
    if kind is None and folder is None:
        return run
    below, dimension, count = REGION_SETS[kind or DEFAULT_REGIONS]
    added = [Override("regions.path", f"{folder.rstrip('/')}/{below}", "--input_dir")] if folder else []
    if kind:
        added += [Override("model.visual_dim", dimension, "--image_feature_type")]
        added += [Override("regions.max_regions", count, "--image_feature_type")]
    return replace(run, overrides=(*added, *run.overrides))
