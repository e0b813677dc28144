"""Pre-train ViLBERT on pairs of pictures and captions.

python vilbert_paddle/run_pretrain.py --from_pretrained bert.safetensors --train 'data/train-{000..331}.tar'
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main

FLAGS = [
    Flag("--train", lambda path: {"pretrain.splits.train": [path]}, help="shards or lists of training pairs"),
    Flag("--val", lambda path: {"pretrain.splits.val": [path]}, help="shards or lists of validation pairs"),
    Flag("--objective", "pretrain.objective", help="all, aligned_only or no_alignment"),
    Flag("--visual_target", "pretrain.target", help="classes, features or nce"),
]


def start() -> None:
    """Parse the command line and run."""
    from vilbert_paddle.running import main
    from vilbert_paddle.tasks.pretrain import PretrainTask

    main("run_pretrain.py", "pretrain.yaml", PretrainTask, FLAGS)


if __name__ == "__main__":
    run_main(start)
