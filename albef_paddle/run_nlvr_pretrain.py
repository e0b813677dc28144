"""Train and evaluate ALBEF: text assignment, the pre-training before NLVR2.

python albef_paddle/run_nlvr_pretrain.py --config configs/albef/nlvr_pretrain.yaml --checkpoint ./pretrained/ALBEF.pth
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from albef_paddle.flags import COMMON_FLAGS, DEFAULT_CONFIGS
from pyutils.config.command_line import run_main, standard_parser

DEFAULT = DEFAULT_CONFIGS / "nlvr_pretrain.yaml"


def main() -> None:
    """Parse the command line and run."""
    from albef_paddle.recipe import run_albef
    from albef_paddle.tasks.base import AlbefRunConfig
    from albef_paddle.tasks.nlvr2 import AlbefTextAssignment

    run = standard_parser("run_nlvr_pretrain.py", DEFAULT, COMMON_FLAGS, AlbefRunConfig).parse()
    run_albef(run, AlbefRunConfig, AlbefTextAssignment, DEFAULT)


if __name__ == "__main__":
    run_main(main)
