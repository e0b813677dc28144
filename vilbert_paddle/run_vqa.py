"""Fine-tune and evaluate ViLBERT on VQA v2.

python vilbert_paddle/run_vqa.py --from_pretrained pretrained.pdparams
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main

FLAGS = [
    Flag("--data_dir", "vqa.root", help="folder of the annotations"),
    Flag("--features", "regions.path", help="features of detected regions"),
    Flag("--split", "eval_split", help="split that --evaluate takes"),
]


def start() -> None:
    """Parse the command line and run."""
    from vilbert_paddle.running import main
    from vilbert_paddle.tasks.vqa import VQATask

    main("run_vqa.py", "vqa.yaml", VQATask, FLAGS)


if __name__ == "__main__":
    run_main(start)
