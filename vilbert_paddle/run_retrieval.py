"""Fine-tune and evaluate ViLBERT on Flickr30k or COCO retrieval; zero-shot with a pre-trained model.

python vilbert_paddle/run_retrieval.py --from_pretrained pretrained.pdparams
python vilbert_paddle/run_retrieval.py --evaluate --zero_shot --split test --from_pretrained pretrained.pdparams
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main

FLAGS = [
    Flag("--annotations", "retrieval.annotations", help="JSON of Karpathy splits"),
    Flag(
        "--zero_shot",
        lambda on: {"retrieval.head": "alignment" if on else "match"},
        type=bool,
        help="score with the head of pre-training",
    ),
    Flag("--features", "regions.path", help="features of detected regions"),
    Flag("--split", "eval_split", help="split that --evaluate takes"),
]


def start() -> None:
    """Parse the command line and run."""
    from vilbert_paddle.running import main
    from vilbert_paddle.tasks.retrieval import RetrievalTask

    main("run_retrieval.py", "retrieval.yaml", RetrievalTask, FLAGS)


if __name__ == "__main__":
    run_main(start)
