"""Ask a trained ALBEF about images: match score, answer, verdict, Grad-CAM pictures, or a whole split's answers.

    python albef_paddle/run_predict.py --checkpoint output/Flickr --image dog.jpg --text "a dog runs" --gradcam
    python albef_paddle/run_predict.py --task vqa --checkpoint output/VQA --image dog.jpg --text "what runs?"
    python albef_paddle/run_predict.py --task vqa --checkpoint output/VQA --split test          → result.json

A checkpoint folder brings its configuration; for a file of the original's, name the recipe with --config.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, positive, run_main, standard_parser

FLAGS = [
    Flag("--checkpoint", None, help="checkpoint folder, output folder of a run, or weight file"),
    Flag("--task", None, help="retrieval (default), pretrain, grounding, vqa, ve, nlvr"),
    Flag(("--text_encoder", "--textencoder"), "tokenizer", help="vocab.txt, a folder with one, or a name"),
    Flag("--device", None, choices=("cuda", "gpu", "cpu"), help="cpu keeps a GPU unused"),
    Flag("--image", None, help="image file"),
    Flag("--second_image", None, help="the right image (nlvr)"),
    Flag(("--text", "--question"), None, help="sentence or question about the image"),
    Flag("--top", None, type=positive, help="answers to show (default 5)"),
    Flag("--split", None, help="split of data.splits to answer whole (vqa)"),
    Flag("--gradcam", None, type=bool, help="draw output_dir/gradcam.png: the sentence and each of its words"),
    Flag("--gradcam_mode", None, choices=("itm", "itc"), help="score whose gradient is looked at (default itm)"),
    Flag(
        "--block_num",
        None,
        type=int,
        help="block whose attention is looked at (default 8, in smaller networks one of the last)",
    ),
]


def main() -> None:
    """Parse the command line and predict."""
    run = standard_parser("run_predict.py", None, FLAGS, description=__doc__).parse()
    from albef_paddle.predict import predict

    predict(run)


if __name__ == "__main__":
    run_main(main)
