"""Fine-tune and evaluate ViLBERT on RefCOCO, RefCOCO+ or RefCOCOg.

python vilbert_paddle/run_refer.py --from_pretrained pretrained.pdparams
python vilbert_paddle/run_refer.py --evaluate --split testA
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from vilbert_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_refer.py")
