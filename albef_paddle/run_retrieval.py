"""Fine-tune and evaluate ALBEF on image-text retrieval.

python albef_paddle/run_retrieval.py --config configs/albef/retrieval_flickr.yaml --checkpoint ./pretrained/ALBEF.pth
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from albef_paddle.flags import COMMON_FLAGS, DEFAULT_CONFIGS
from pyutils.config.command_line import Flag, run_main, standard_parser

FLAGS = [*COMMON_FLAGS, Flag("--k_test", "k_test", type=int, help="candidates that are ranked")]
DEFAULT = DEFAULT_CONFIGS / "retrieval_flickr.yaml"


def main() -> None:
    """Parse the command line and run."""
    from albef_paddle.recipe import run_albef
    from albef_paddle.tasks.retrieval import AlbefRetrieval, AlbefRetrievalConfig

    run = standard_parser("run_retrieval.py", DEFAULT, FLAGS, AlbefRetrievalConfig).parse()
    run_albef(run, AlbefRetrievalConfig, AlbefRetrieval, DEFAULT)


if __name__ == "__main__":
    run_main(main)
