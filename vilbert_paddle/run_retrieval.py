"""Fine-tune and evaluate ViLBERT on Flickr30k or COCO retrieval; zero-shot with a pre-trained model.

python vilbert_paddle/run_retrieval.py --from_pretrained pretrained.pdparams
python vilbert_paddle/run_retrieval.py --evaluate --zero_shot --split test --from_pretrained pretrained.pdparams
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from vilbert_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_retrieval.py")
