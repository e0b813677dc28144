"""Train and evaluate ALBEF: pre-training.

python albef_paddle/run_pretrain.py --config configs/albef/pretrain.yaml --checkpoint ./pretrained/ALBEF.pth
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from albef_paddle.flags import COMMON_FLAGS, DEFAULT_CONFIGS
from pyutils.config.command_line import run_main, standard_parser

DEFAULT = DEFAULT_CONFIGS / "pretrain.yaml"


def main() -> None:
    """Parse the command line and run."""
    from albef_paddle.recipe import run_albef
    from albef_paddle.tasks.pretraining import AlbefPretraining, AlbefPretrainingConfig

    run = standard_parser("run_pretrain.py", DEFAULT, COMMON_FLAGS, AlbefPretrainingConfig).parse()
    run_albef(run, AlbefPretrainingConfig, AlbefPretraining, DEFAULT)


if __name__ == "__main__":
    run_main(main)
