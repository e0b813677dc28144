"""ALBEF's lists of the drawn world:  python -m albef_paddle.sample --world sample_data/world

Links the world's files where `python -m pyutils.data.prepare` looks for the official ones (`WORLD/albef_data`), and
makes every list below `WORLD/albef_data/albef`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pyutils.cli import run_main
from pyutils.data.prepare.__main__ import main as prepare
from pyutils.errors import InputError

# below the data folder: below the world
LINKS = {
    "coco": "images/coco",
    "flickr30k": "images/flickr30k",
    "karpathy": "karpathy",
    "nlvr2/images": "images/nlvr2",
    "nlvr2/train.json": "NLVR2/annotations/train.json",
    "nlvr2/dev.json": "NLVR2/annotations/dev.json",
    "nlvr2/test1.json": "NLVR2/annotations/test1.json",
    "snli_ve": "SNLI-VE",
    "refcoco/refcoco+": "refcoco+",
    "vqa": "VQA2/annotations",
}
FOLDER = "albef_data"


def make_lists(world: Path) -> Path:
    """Link and build; returns the data folder. InputError when `world` is no complete drawn world."""
    folder = world / FOLDER
    missing = [target for target in LINKS.values() if not (world / target).exists()]
    if missing:
        raise InputError(
            f"{world}: lacks {missing[0]}; write the world with python -m pyutils.sample world --output {world}"
        )
    for name, target in LINKS.items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((world / target).resolve())
    prepare(["--root", str(folder)])
    return folder


def main() -> None:
    """Parse the command line and make the lists."""
    parser = argparse.ArgumentParser(prog="python -m albef_paddle.sample", description=__doc__)
    parser.add_argument("--world", type=Path, default=Path("sample_data/world"), help="the world's folder")
    print(f"lists are in {make_lists(parser.parse_args().world) / 'albef'}")


if __name__ == "__main__":
    run_main(main)
