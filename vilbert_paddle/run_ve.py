"""Fine-tune and evaluate ViLBERT on SNLI-VE.

python vilbert_paddle/run_ve.py --from_pretrained pretrained.pdparams
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main

FLAGS = [
    Flag("--data_dir", "snli_ve.root", help="folder of the annotations"),
    Flag("--features", "regions.path", help="features of detected regions"),
    Flag("--split", "eval_split", help="split that --evaluate takes"),
]


def start() -> None:
    """Parse the command line and run."""
    from vilbert_paddle.running import main
    from vilbert_paddle.tasks.entailment import EntailmentTask

    main("run_ve.py", "ve.yaml", EntailmentTask, FLAGS)


if __name__ == "__main__":
    run_main(start)
