"""Train and evaluate ALBEF: weakly supervised grounding (RefCOCO, RefCOCO+, RefCOCOg).

python albef_paddle/run_grounding.py --config configs/albef/grounding.yaml --checkpoint ./pretrained/ALBEF.pth
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from albef_paddle.flags import DEFAULT_CONFIGS, GROUNDING_FLAGS
from pyutils.config.command_line import run_main, standard_parser

DEFAULT = DEFAULT_CONFIGS / "grounding.yaml"


def main() -> None:
    """Parse the command line and run."""
    from albef_paddle.recipe import run_albef
    from albef_paddle.tasks.grounding import AlbefGrounding, AlbefGroundingConfig

    run = standard_parser("run_grounding.py", DEFAULT, GROUNDING_FLAGS, AlbefGroundingConfig).parse()
    run_albef(run, AlbefGroundingConfig, AlbefGrounding, DEFAULT)


if __name__ == "__main__":
    run_main(main)
