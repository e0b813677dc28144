"""Predict with a trained VisualBERT: a whole split, or one example. The task is the checkpoint's.

    python visualbert_paddle/run_predict.py --checkpoint output/vqa2 --split test            → result.json
    python visualbert_paddle/run_predict.py --checkpoint output/vqa2 --regions X_COCO/data/detectron_fix_100 \\
        --image COCO_val2014_000000262148 --question "Where is he looking?" [--top 5]
    python visualbert_paddle/run_predict.py --checkpoint output/nlvr2 --split test1          → predictions.csv
    python visualbert_paddle/run_predict.py --checkpoint output/nlvr2 --left dev-0-0-img0 --right dev-0-0-img1 \\
        --sentence "Both images contain a dog."
    python visualbert_paddle/run_predict.py --checkpoint output/vcr_qa --rationale_checkpoint output/vcr_qar --split val
    python visualbert_paddle/run_predict.py --checkpoint output/flickr --split test          → phrases.json

The configuration is the one saved with the checkpoint; `--config` and `--set` change it. `--help-config` lists the keys
that all tasks share; those of a task are in the list of its own script, e.g. `run_vqa2.py --help-config`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main, standard_parser
from pyutils.errors import InputError


def at_least_one(text: str) -> int:
    """A number of things to show. InputError below 1, ValueError for what is no whole number."""
    if int(text) < 1:
        raise InputError(f"expected 1 or more, found {text}")
    return int(text)


def picture_file(text: str) -> Path:
    """The path of a picture. InputError where there is none that Pillow reads."""
    from PIL import Image

    try:
        with Image.open(text):
            return Path(text)
    except OSError as error:
        raise InputError(f"expected a picture file, found {text}: {error}") from error


FLAGS = [
    Flag("--checkpoint", None, help="checkpoint folder, or the output folder of a run"),
    Flag("--split", None, help="split to predict whole, a key of the configuration's splits"),
    Flag("--regions", "regions.path", help="region features, where they are not those of the configuration"),
    Flag("--image", None, help="image key, e.g. COCO_val2014_000000262148"),
    Flag("--question", None, help="VQA: the question about --image"),
    Flag("--left", None, help="NLVR2: key of the left image"),
    Flag("--right", None, help="NLVR2: key of the right image"),
    Flag("--sentence", None, help="NLVR2, Flickr30k Entities: the sentence"),
    Flag("--phrase", None, help="Flickr30k Entities: words of the sentence to find in --image"),
    Flag("--annot_id", None, help="VCR: the question of --of_split to answer"),
    Flag("--of_split", None, help="VCR: split of --annot_id (default val)"),
    Flag("--rationale_checkpoint", None, help="VCR: checkpoint trained for QA→R, beside one for Q→A: gives Q→AR"),
    Flag("--top", None, type=at_least_one, help="answers or boxes to show for --image (default 5)"),
    Flag("--picture", None, type=picture_file, help="VQA: picture of --image; draws output_dir/prediction.png"),
    Flag("--allow_unk", None, type=bool, help="VQA: also submit <unk> where it wins, as the authors' code does"),
]


def main() -> None:
    """Parse the command line and predict."""
    from visualbert_paddle.predict import predict
    from visualbert_paddle.tasks.base import VisualBertRunConfig

    training_only = ("--seed", "--resume", "--evaluate")
    parser = standard_parser("run_predict.py", None, FLAGS, VisualBertRunConfig, __doc__, without=training_only)
    predict(parser.parse())


if __name__ == "__main__":
    run_main(main)
