"""Pre-train VisualBERT on COCO captions, VQA v2 or NLVR2.

python visualbert_paddle/run_pretrain.py --dataset coco_captions --input_dir ./X_COCO/ \\
    --model_name_or_path visualbert-vqa-coco-pre --image_feature_type coco_detectron_fix_100
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from visualbert_paddle.commands import COMMANDS

if __name__ == "__main__":
    COMMANDS.train("run_pretrain.py")
