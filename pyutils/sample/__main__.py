"""Generate sample data: `python -m pyutils.sample easy-vqa|world|boxes`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pyutils.errors import InputError

# Set before NumPy is imported: several threads change the last bits of the features, so that files would depend on the
# machine, and take two to four times as long on matrices of this size.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status (2 for wrong input)."""
    options = _parser().parse_args(arguments)
    try:
        written = options.run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: {'written' if written else 'already complete, nothing to do'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pyutils.sample", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    easy = commands.add_parser("easy-vqa", help="easy-VQA as VQA v2 files and region features")
    easy.add_argument("--seed", type=int, default=0, help="chooses the validation tenth (default 0)")
    easy.set_defaults(run=_easy_vqa)
    world = commands.add_parser("world", help="drawn scenes in the formats of every task")
    world.add_argument("--scenes", type=int, default=1000, help="images of each source (default 1000)")
    world.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    world.add_argument("--only", help="comma-separated parts: vqa, coco, nlvr2, refcoco+, snli-ve, … (default all)")
    world.add_argument("--dimension", type=int, default=192, help="of the region features (default 192)")
    world.add_argument("--shapes", type=int, default=6, help="different shapes, 2-6 (default 6)")
    world.add_argument("--colours", type=int, default=8, help="different colours, 4-8 (default 8)")
    world.add_argument("--sentences", type=int, default=2, help="NLVR2 sentences per set of 8 images, 1-6 (default 2)")
    world.add_argument("--preview", type=Path, help="also draw a contact sheet of the written files to this PNG")
    world.set_defaults(run=_world)
    boxes = commands.add_parser("boxes", help="drawn scenes with boxes, classes and attributes, to train a detector")
    boxes.add_argument("--scenes", type=int, default=2000, help="images (default 2000)")
    boxes.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    boxes.set_defaults(run=_boxes)
    for command in (easy, world, boxes):
        command.add_argument("--output", type=Path, required=True, help="folder to write to")
        command.add_argument("--overwrite", action="store_true", help="replace a folder made with other arguments")
    return parser


def _easy_vqa(options: argparse.Namespace) -> bool:
    from pyutils.sample.easy_vqa import make_easy_vqa

    return make_easy_vqa(options.output, options.seed, options.overwrite)


def _boxes(options: argparse.Namespace) -> bool:
    from pyutils.sample.boxes import make_boxes

    return make_boxes(options.output, options.scenes, options.seed, options.overwrite)


def _world(options: argparse.Namespace) -> bool:
    from pyutils.sample.world import write_world

    only = None if options.only is None else [name.strip() for name in options.only.split(",") if name.strip()]
    written = write_world(
        options.output,
        options.scenes,
        options.seed,
        only,
        options.dimension,
        options.overwrite,
        options.shapes,
        options.colours,
        options.sentences,
    )
    if options.preview is not None:
        from pyutils.sample.preview import draw_preview

        draw_preview(options.output, options.preview)
    return written


if __name__ == "__main__":
    sys.exit(main())
