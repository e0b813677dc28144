"""Fine-tune and evaluate ViLBERT on SNLI-VE."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without an installation
from vilbert_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_ve.py")
