"""Train and evaluate ALBEF: VQA v2."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without an installation
from albef_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_vqa.py")
