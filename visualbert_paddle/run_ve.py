"""Fine-tune and evaluate VisualBERT on SNLI-VE, or on classes of one's own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without an installation
from visualbert_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_ve.py")
