"""Train and evaluate ALBEF: visual entailment (SNLI-VE).

python albef_paddle/run_ve.py --config configs/albef/ve.yaml --checkpoint ./pretrained/ALBEF.pth
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from albef_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_ve.py")
