"""Predict with a trained ViLBERT: a whole split, or one example. The task is the checkpoint's.

    python vilbert_paddle/run_predict.py --checkpoint output/vilbert_vqa --split test
    python vilbert_paddle/run_predict.py --checkpoint output/refcoco+ --image COCO_train2014_000000581857 \\
        --text "the lady with the blue shirt"
    python vilbert_paddle/run_predict.py --checkpoint output/vilbert_nlvr2 --left dev-0-0-img0 --right dev-0-0-img1 \\
        --text "Both images contain a dog."
    python vilbert_paddle/run_predict.py --checkpoint output/vilbert_vcr_qa --split test \\
        --rationale_checkpoint output/vilbert_vcr_qar
    python vilbert_paddle/run_predict.py --checkpoint output/vilbert_multitask --member ve --split test

The configuration is the one saved with the checkpoint; `--config` and `--set` change it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, positive, run_main, standard_parser

FLAGS = [
    Flag("--checkpoint", None, help="checkpoint folder, or the output folder of a run"),
    Flag("--member", None, help="the task of a multi-task checkpoint"),
    Flag("--split", None, help="split to predict whole, into the task's result files"),
    Flag("--rationale_checkpoint", None, help="VCR: the QA→R model beside the Q→A one: leaderboard.csv and Q→AR"),
    Flag("--features", "regions.path", help="region features, where they are not those of the configuration"),
    Flag("--image", None, help="image key, e.g. COCO_val2014_000000262148"),
    Flag("--left", None, help="NLVR2: key of the left image"),
    Flag("--right", None, help="NLVR2: key of the right image"),
    Flag("--text", None, help="question, expression, hypothesis or sentence"),
    Flag("--top", None, type=positive, help="answers or regions to show (default 5)"),
]


def main() -> None:
    """Parse the command line and predict."""
    run = standard_parser("run_predict.py", None, FLAGS, description=__doc__).parse()
    from vilbert_paddle.predict import predict

    predict(run)


if __name__ == "__main__":
    run_main(main)
