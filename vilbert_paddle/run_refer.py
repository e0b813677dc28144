"""Fine-tune and evaluate ViLBERT on RefCOCO, RefCOCO+ or RefCOCOg.

python vilbert_paddle/run_refer.py --from_pretrained pretrained.pdparams
python vilbert_paddle/run_refer.py --evaluate --split testA
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main

FLAGS = [
    Flag("--dataset", "refer.dataset", choices=("refcoco", "refcoco+", "refcocog"), help="the data set"),
    Flag("--data_dir", "refer.root", help="folder of refcoco/, refcoco+/, refcocog/"),
    Flag("--features", "regions.path", help="features of detected regions"),
    Flag("--gt_features", "annotated_regions.path", help="features of annotated boxes"),
    Flag("--split", "eval_split", help="split that --evaluate takes: val, testA, testB, test"),
]


def start() -> None:
    """Parse the command line and run."""
    from vilbert_paddle.running import main
    from vilbert_paddle.tasks.refer import ReferTask

    main("run_refer.py", "refcoco+.yaml", ReferTask, FLAGS)


if __name__ == "__main__":
    run_main(start)
