"""Fine-tune and evaluate VisualBERT on VQA v2.

python visualbert_paddle/run_vqa2.py --input_dir ./X_COCO/ --model_name_or_path visualbert-vqa-pre
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main, standard_parser
from visualbert_paddle.flags import COMMON_FLAGS, DEFAULT_CONFIGS

FLAGS = [
    *COMMON_FLAGS,
    Flag("--input_dir", lambda folder: {"regions.path": f"{folder.rstrip('/')}/data/detectron_fix_100"},
         help="folder that holds data/detectron_fix_100"),
    Flag("--annotations", "vqa.root", help="folder of annotations/ and extras/vocabs/"),
    Flag("--task_name", None, choices=("vqa2",), help="accepted as the original has it"),
    Flag("--dataset", None, choices=("vqa2",), help="accepted as the original has it"),
]  # fmt: skip


def main() -> None:
    """Parse the command line and run."""
    from pyutils.engine.run import run_task
    from visualbert_paddle.tasks.vqa import VisualBertVQA, VisualBertVQAConfig
    from visualbert_paddle.weights import load_initial

    parser = standard_parser("run_vqa2.py", DEFAULT_CONFIGS / "vqa2.yaml", FLAGS, VisualBertVQAConfig)
    run = parser.parse()
    run_task(run, run.load(VisualBertVQAConfig), VisualBertVQA, load_initial)


if __name__ == "__main__":
    run_main(main)
