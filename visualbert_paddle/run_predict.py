"""Answer questions with a trained VisualBERT: a whole split, or one image.

    python visualbert_paddle/run_predict.py --checkpoint output/vqa2 --split test            → result.json
    python visualbert_paddle/run_predict.py --checkpoint output/vqa2 --regions X_COCO/data/detectron_fix_100 \\
        --image COCO_val2014_000000262148 --question "Where is he looking?" [--top 5]

The configuration is the one saved with the checkpoint; `--config` and `--set` change it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.cli import Flag, run_main, standard_parser

FLAGS = [
    Flag("--checkpoint", None, help="checkpoint folder, or the output folder of a run"),
    Flag("--split", None, help="split to answer whole, a key of vqa.splits"),
    Flag("--regions", "regions.path", help="region features, where they are not those of the configuration"),
    Flag("--image", None, help="image key, e.g. COCO_val2014_000000262148"),
    Flag("--question", None, help="the question about --image"),
    Flag("--top", None, type=int, help="answers to show for --image (default 5)"),
    Flag("--picture", None, type=Path, help="picture file of --image: draws the answer into output_dir/prediction.png"),
    Flag("--allow_unk", None, type=bool, help="also submit <unk> where it wins, as the authors' code does"),
]


def main() -> None:
    """Parse the command line and predict."""
    run = standard_parser("run_predict.py", None, FLAGS, description=__doc__).parse()
    from visualbert_paddle.predict import predict

    predict(run)


if __name__ == "__main__":
    run_main(main)
