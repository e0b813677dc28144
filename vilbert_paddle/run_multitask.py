"""Train one ViLBERT on several tasks together (12-in-1).

python vilbert_paddle/run_multitask.py --from_pretrained pretrained.pdparams
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import run_main


def start() -> None:
    """Parse the command line and run."""
    from vilbert_paddle.running import main
    from vilbert_paddle.tasks.multitask import MultitaskTask

    main("run_multitask.py", "multitask.yaml", MultitaskTask)


if __name__ == "__main__":
    run_main(start)
