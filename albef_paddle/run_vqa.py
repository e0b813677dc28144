"""Train and evaluate ALBEF: VQA v2.

python albef_paddle/run_vqa.py --config configs/albef/vqa.yaml --checkpoint ./pretrained/ALBEF.pth
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from albef_paddle.flags import COMMON_FLAGS, DEFAULT_CONFIGS
from pyutils.config.command_line import run_main, standard_parser

DEFAULT = DEFAULT_CONFIGS / "vqa.yaml"


def main() -> None:
    """Parse the command line and run."""
    from albef_paddle.recipe import run_albef
    from albef_paddle.tasks.vqa import AlbefVQA, AlbefVQAConfig

    run = standard_parser("run_vqa.py", DEFAULT, COMMON_FLAGS, AlbefVQAConfig).parse()
    run_albef(run, AlbefVQAConfig, AlbefVQA, DEFAULT)


if __name__ == "__main__":
    run_main(main)
