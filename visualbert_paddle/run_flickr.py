"""Fine-tune and evaluate VisualBERT on Flickr30k Entities.

python visualbert_paddle/run_flickr.py --input_dir ./X_FLICKR/ --model_name_or_path output/flickr_pre
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs without being installed, too

from pyutils.config.command_line import Flag, run_main, standard_parser
from visualbert_paddle.flags import COMMON_FLAGS, DEFAULT_CONFIGS

FLAGS = [
    *COMMON_FLAGS,
    Flag("--input_dir", lambda folder: {"regions.path": f"{folder.rstrip('/')}/data/detectron_fix_100"},
         help="folder that holds data/detectron_fix_100"),
    Flag("--annotations", "flickr.root", help="folder of Annotations/, Sentences/ and the split lists"),
    Flag("--task_name", None, choices=("flickr", "flickr30k"), help="accepted as the originals have it"),
    Flag("--dataset", None, choices=("flickr", "flickr30k"), help="accepted as the originals have it"),
]  # fmt: skip


def main() -> None:
    """Parse the command line and run."""
    from pyutils.engine.run import run_task
    from visualbert_paddle.tasks.flickr import VisualBertFlickr, VisualBertFlickrConfig
    from visualbert_paddle.weights import load_initial

    parser = standard_parser("run_flickr.py", DEFAULT_CONFIGS / "flickr.yaml", FLAGS, VisualBertFlickrConfig)
    run = parser.parse()
    run_task(run, run.load(VisualBertFlickrConfig), VisualBertFlickr, load_initial)


if __name__ == "__main__":
    run_main(main)
