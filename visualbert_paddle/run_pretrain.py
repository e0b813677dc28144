"""Pre-train VisualBERT on COCO captions, VQA v2 or NLVR2.

python visualbert_paddle/run_pretrain.py --dataset coco_captions --input_dir ./X_COCO/ \\
    --model_name_or_path visualbert-vqa-coco-pre --image_feature_type coco_detectron_fix_100
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main, standard_parser
from visualbert_paddle.flags import COMMON_FLAGS, DEFAULT_CONFIGS, REGION_SETS, place_regions

OBJECTIVES = {"coco_captions": "words_and_matching", "vqa2": "words", "nlvr2": "words"}
FEATURE_FLAG = Flag("--image_feature_type", None, choices=tuple(REGION_SETS), help="which regions of --input_dir")
FLAGS = [
    *(flag for flag in COMMON_FLAGS if flag.names != FEATURE_FLAG.names),
    FEATURE_FLAG,
    Flag("--input_dir", None, help="folder that holds data/detectron_fix_100 or data/detectron_fix_144"),
    Flag("--dataset", lambda name: {"pretraining.dataset": name, "pretraining.objective": OBJECTIVES[name]},
         choices=tuple(OBJECTIVES), help="sets pretraining.dataset and the objective that goes with it"),
    Flag("--task_name", None, help="accepted as the original has it"),
    Flag("--mask_prob", "pretraining.masking", type=float),
    Flag("--annotations", lambda folder: {f"{name}.root": folder for name in ("coco", "vqa", "nlvr2")},
         help="folder of annotations/ of the data set"),
]  # fmt: skip


def main() -> None:
    """Parse the command line and run."""
    from pyutils.engine.run import run_task
    from visualbert_paddle.pretraining_texts import VisualBertPretrainingConfig
    from visualbert_paddle.tasks.pretrain import VisualBertPretraining
    from visualbert_paddle.weights import load_initial

    parser = standard_parser("run_pretrain.py", DEFAULT_CONFIGS / "pretrain.yaml", FLAGS, VisualBertPretrainingConfig)
    run = place_regions(parser.parse())
    run_task(run, run.load(VisualBertPretrainingConfig), VisualBertPretraining, load_initial)


if __name__ == "__main__":
    run_main(main)
