"""`python -m pyutils.detection`: train the region detector, from scratch or from weights (`init`).

python -m pyutils.sample boxes --output sample_data/boxes
python -m pyutils.detection --config configs/detector/tiny.yaml
python -m paddle.distributed.launch --nproc_per_node 2 pyutils/detection/__main__.py …    # several processes
paddle-vl features extract --images photos --detector output/detector --boxes 10:36 --out photos.regions
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__" and not __package__:  # as a file, under the launcher: not this folder but the repository
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from pyutils.config.command_line import Flag, run_main, standard_parser
from pyutils.engine.commands import DEVICE_FLAG

RECIPE = Path(__file__).resolve().parents[2] / "configs/detector/tiny.yaml"
FLAGS = (Flag("--data_dir", "boxes.root", help="folder of the data set"), DEVICE_FLAG)


def _config_class() -> type:
    from pyutils.detection.task import DetectorRunConfig

    return DetectorRunConfig


def run(arguments: Sequence[str] | None = None) -> None:
    """Train or evaluate as `arguments` say. Raises InputError for what the user can correct."""
    parsed = standard_parser("python -m pyutils.detection", RECIPE, FLAGS, _config_class, __doc__ or "").parse(
        arguments
    )
    from pyutils.detection.task import DetectorRunConfig, DetectorTask, load_initial
    from pyutils.engine.run import choose_device, run_task

    build: Any = DetectorTask  # takes its own configuration
    choose_device(parsed)
    run_task(parsed, parsed.load(DetectorRunConfig), build, load_initial)


if __name__ == "__main__":
    run_main(run)
