"""Fine-tune and evaluate VisualBERT on VCR: Q→A, or QA→R with --mode qa_r. run_predict.py joins the two to Q→AR.

python visualbert_paddle/run_vcr.py --mode q_a --regions vcr_gt.lmdb --model_name_or_path visualbert-vcr-pre
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from visualbert_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_vcr.py")
