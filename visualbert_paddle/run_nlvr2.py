"""Fine-tune and evaluate VisualBERT on NLVR2.

python visualbert_paddle/run_nlvr2.py --input_dir ./X_NLVR/ --model_name_or_path visualbert-nlvr2-pre
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main, standard_parser
from visualbert_paddle.flags import COMMON_FLAGS, DEFAULT_CONFIGS

FLAGS = [
    *COMMON_FLAGS,
    Flag("--input_dir", lambda folder: {"regions.path": f"{folder.rstrip('/')}/data/detectron_fix_144"},
         help="folder that holds data/detectron_fix_144"),
    Flag("--annotations", "nlvr2.root", help="folder of annotations/"),
    Flag("--task_name", None, choices=("nlvr2", "nlvr"), help="accepted as the original has it"),
    Flag("--dataset", None, choices=("nlvr2",), help="accepted as the original has it"),
]  # fmt: skip


def main() -> None:
    """Parse the command line and run."""
    from pyutils.engine.run import run_task
    from visualbert_paddle.tasks.nlvr2 import VisualBertNLVR2, VisualBertNLVR2Config
    from visualbert_paddle.weights import load_initial

    parser = standard_parser("run_nlvr2.py", DEFAULT_CONFIGS / "nlvr2.yaml", FLAGS, VisualBertNLVR2Config)
    run = parser.parse()
    run_task(run, run.load(VisualBertNLVR2Config), VisualBertNLVR2, load_initial)


if __name__ == "__main__":
    run_main(main)
