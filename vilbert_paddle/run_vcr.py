"""Fine-tune and evaluate ViLBERT on VCR: Q→A, QA→R, and Q→AR from both.

python vilbert_paddle/run_vcr.py --from_pretrained pretrained.pdparams
python vilbert_paddle/run_vcr.py --config configs/vilbert/vcr_rationale.yaml --evaluate --answer_results val_answer.json
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from vilbert_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_vcr.py")
