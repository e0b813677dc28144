"""Fine-tune and evaluate VisualBERT on Flickr30k Entities.

python visualbert_paddle/run_flickr.py --input_dir ./X_FLICKR/ --model_name_or_path output/flickr_pre
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from visualbert_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_flickr.py")
