"""Fine-tune and evaluate ViLBERT on NLVR2.

python vilbert_paddle/run_nlvr2.py --from_pretrained pretrained.pdparams
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from vilbert_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_nlvr2.py")
