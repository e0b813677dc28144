"""Train and evaluate ALBEF: visual entailment (SNLI-VE).

python albef_paddle/run_ve.py --config configs/albef/ve.yaml --checkpoint ./pretrained/ALBEF.pth
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from albef_paddle.flags import COMMON_FLAGS, DEFAULT_CONFIGS
from pyutils.config.command_line import run_main, standard_parser

DEFAULT = DEFAULT_CONFIGS / "ve.yaml"


def main() -> None:
    """Parse the command line and run."""
    from albef_paddle.recipe import run_albef
    from albef_paddle.tasks.base import AlbefRunConfig
    from albef_paddle.tasks.entailment import AlbefEntailment

    run = standard_parser("run_ve.py", DEFAULT, COMMON_FLAGS, AlbefRunConfig).parse()
    run_albef(run, AlbefRunConfig, AlbefEntailment, DEFAULT)


if __name__ == "__main__":
    run_main(main)
