"""Fine-tune and evaluate VisualBERT on NLVR2.

python visualbert_paddle/run_nlvr2.py --input_dir ./X_NLVR/ --model_name_or_path visualbert-nlvr2-pre
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from visualbert_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_nlvr2.py")
