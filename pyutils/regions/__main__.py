"""`paddle-vl features extract`: extract region features from a folder of images.

    paddle-vl features extract --images photos --detector frcnn-vg-finetuned --boxes 10:100 --out photos.regions
    paddle-vl features extract --images photos --backbone efficientnet-lite0 --cells 3 --out photos.grid
    python -m paddle.distributed.launch --nproc_per_node 2 pyutils/regions/__main__.py --images photos …

Images that cannot be read are skipped and listed in OUT.bad.txt. A run that was interrupted resumes when the command is
given again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__" and not __package__:  # as a file, under the launcher: not this folder but the repository
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from pyutils.config.command_line import run_main
from pyutils.console import say
from pyutils.data.features import open_regions
from pyutils.data.features.exporting import EXPORTS, export_features
from pyutils.errors import InputError
from pyutils.regions.choice import add_extractor_flags, open_extractor


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="paddle-vl features extract", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of images; its subfolders too")
    parser.add_argument("--out", type=Path, required=True, help="store to write or to continue")
    add_extractor_flags(parser)
    parser.add_argument("--gt-boxes", type=Path, help="JSON {image: [[x1, y1, x2, y2], …]}: describe these boxes")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="type of stored features")
    parser.add_argument(
        "--format", choices=("packed", *sorted(EXPORTS)), default="packed", help="format of --out (default: packed)"
    )
    parser.add_argument("--batch", type=int, default=1, help="images per forward pass (default: 1)")
    parser.add_argument(
        "--workers", type=int, default=2, help="threads that decode images beside the network (default: 2; 0: none)"
    )
    return parser


def run(arguments: Sequence[str] | None = None) -> None:
    """Extract as `arguments` say. Raises InputError for what the user can correct."""
    options = build_parser().parse_args(arguments)
    if options.batch < 1 or options.workers < 0:
        raise InputError("--batch: expected 1 or more, --workers: 0 or more")
    from pyutils import distributed
    from pyutils.regions.extract import extract, list_images, read_boxes, start_processes, write_bad_list

    images = list_images(options.images)
    boxes = read_boxes(options.gt_boxes) if options.gt_boxes else None
    store = options.out if options.format == "packed" else options.out.with_name(f"{options.out.name}.packed")
    start_processes(store)
    extractor = open_extractor(options)
    say(f"{len(images)} images in {options.images}; {extractor.spec.detector}: {extractor.spec.provenance}")
    result = extract(images, store, extractor, options.batch, options.workers, boxes, options.dtype)
    if not distributed.is_main():
        return
    say(f"{result.added} images added, {result.stored} in {store}")
    if options.format != "packed":
        added = export_features(open_regions(store), options.out, options.format)
        say(f"{added} images added to {options.out}; {store} is kept, from which further images continue")
    if result.few:
        say(f"{result.few} images have fewer than {extractor.least} regions: no more boxes were found in them")
    listed = options.out.with_name(f"{options.out.name}.bad.txt")
    if result.bad:
        write_bad_list(listed, result.bad)
        say(f"{len(result.bad)} images skipped, see {listed}; the first: {result.bad[0].key}: {result.bad[0].reason}")


if __name__ == "__main__":
    run_main(run)
