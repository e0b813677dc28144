"""Pre-train ViLBERT on pairs of pictures and captions.

python vilbert_paddle/run_pretrain.py --from_pretrained bert.safetensors --train 'data/train-{000..331}.tar'
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from vilbert_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_pretrain.py")
