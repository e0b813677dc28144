"""Fine-tune and evaluate ViLBERT on VCR: Q→A, QA→R, and Q→AR from both.

python vilbert_paddle/run_vcr.py --from_pretrained pretrained.pdparams
python vilbert_paddle/run_vcr.py --config configs/vilbert/vcr_rationale.yaml --evaluate --answer_results val_answer.json
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main

FLAGS = [
    Flag("--data_dir", "vcr.root", help="folder of train.jsonl, val.jsonl, test.jsonl"),
    Flag("--gt_features", "annotated_regions.path", help="features of annotated boxes"),
    Flag("--answer_results", "vcr.answer_results", help="val_answer.json of a Q→A model: also gives Q→AR"),
    Flag("--features", "regions.path", help="features of detected regions"),
    Flag("--split", "eval_split", help="split that --evaluate takes"),
]


def start() -> None:
    """Parse the command line and run."""
    from vilbert_paddle.running import main
    from vilbert_paddle.tasks.vcr import VCRTask

    main("run_vcr.py", "vcr.yaml", VCRTask, FLAGS)


if __name__ == "__main__":
    run_main(start)
