"""Fine-tune and evaluate VisualBERT on VCR: Q→A, or QA→R with --mode qa_r. run_predict.py joins the two to Q→AR.

python visualbert_paddle/run_vcr.py --mode q_a --regions vcr_gt.lmdb --model_name_or_path visualbert-vcr-pre
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main, standard_parser
from visualbert_paddle.flags import COMMON_FLAGS, DEFAULT_CONFIGS

FLAGS = [
    *COMMON_FLAGS,
    Flag("--mode", "mode", choices=("q_a", "qa_r"), help="q_a: the answer; qa_r: the rationale, given the answer"),
    Flag("--regions", "regions.path", help="region features of the pictures, best of the annotated boxes"),
    Flag(("--annotations", "--input_dir"), "vcr.root", help="folder of the JSON lines and vcr1images/"),
    Flag("--task_name", None, choices=("vcr",), help="accepted as the originals have it"),
    Flag("--dataset", None, choices=("vcr",), help="accepted as the originals have it"),
]


def main() -> None:
    """Parse the command line and run."""
    from pyutils.engine.run import run_task
    from visualbert_paddle.tasks.vcr import VisualBertVCR, VisualBertVCRConfig
    from visualbert_paddle.weights import load_initial

    parser = standard_parser("run_vcr.py", DEFAULT_CONFIGS / "vcr.yaml", FLAGS, VisualBertVCRConfig)
    run = parser.parse()
    run_task(run, run.load(VisualBertVCRConfig), VisualBertVCR, load_initial)


if __name__ == "__main__":
    run_main(main)
