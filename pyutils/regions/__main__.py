"""`python -m pyutils.regions`: extract region features from a folder of images.

    python -m pyutils.regions --images photos --detector frcnn-vg-finetuned --boxes 10:100 --out photos_regions
    python -m pyutils.regions --images photos --backbone efficientnet-lite0 --cells 3 --out photos_grid
    python -m paddle.distributed.launch --nproc_per_node 2 pyutils/regions/__main__.py --images photos …

Images that cannot be read are skipped and listed in OUT.bad.txt. A run that was interrupted resumes when the command is
given again.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__" and not __package__:  # as a file, under the launcher: not this folder but the repository
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from pyutils.config.command_line import run_main
from pyutils.errors import InputError


def box_range(text: str) -> tuple[int, int]:
    """Read `10:100`, or `36` for exactly 36. Raises ArgumentTypeError otherwise."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if not match or not 1 <= int(match[1]) <= int(match[2] or match[1]):
        raise argparse.ArgumentTypeError(f"expected MIN:MAX such as 10:100, or one number, found {text!r}")
    return int(match[1]), int(match[2] or match[1])


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pyutils.regions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of images; its subfolders too")
    parser.add_argument("--out", type=Path, required=True, help="packed store to write or to continue")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--detector", help="weights of a bottom-up detector: a file, a folder or a known name")
    kind.add_argument("--backbone", help="efficientnet-lite0, a classifier of paddle.vision.models, or an .onnx file")
    parser.add_argument("--weights", help="weight file of the backbone (default: the published ones)")
    parser.add_argument("--config", help="config.yaml of the detector (default: beside its weights)")
    parser.add_argument("--boxes", type=box_range, help="boxes per image, MIN:MAX or one number (default: 36)")
    parser.add_argument("--gt-boxes", type=Path, help="JSON {image: [[x1, y1, x2, y2], …]}: describe these boxes")
    parser.add_argument("--class-probs", action="store_true", help="keep the detector's class probabilities")
    parser.add_argument("--cells", type=int, default=7, help="grid cells on each side (default: 7)")
    parser.add_argument("--size", type=int, default=224, help="side of the resized image of a grid (default: 224)")
    parser.add_argument("--global-region", action="store_true", help="grid: the whole image as first region")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="type of stored features")
    parser.add_argument("--batch", type=int, default=1, help="images per forward pass (default: 1)")
    parser.add_argument("--workers", type=int, default=2, help="threads that decode images (default: 2)")
    return parser


def run(arguments: Sequence[str] | None = None) -> None:
    """Extract as `arguments` say. Raises InputError for what the user can correct."""
    options = build_parser().parse_args(arguments)
    if options.batch < 1 or options.workers < 1:
        raise InputError("--batch and --workers: expected 1 or more")
    from pyutils import distributed
    from pyutils.console import say
    from pyutils.regions.extract import extract, list_images, read_boxes, write_bad_list
    from pyutils.regions.extractors import Extractor, open_backbone, open_detector

    images = list_images(options.images)
    boxes = read_boxes(options.gt_boxes) if options.gt_boxes else None
    distributed.initialize()
    extractor: Extractor
    if options.detector:
        extractor = open_detector(options.detector, options.boxes, options.class_probs, options.config)
    else:
        extractor = open_backbone(options.backbone, options.cells, options.size, options.global_region, options.weights)
    say(f"{len(images)} images in {options.images}; {extractor.spec.detector}: {extractor.spec.provenance}")
    result = extract(images, options.out, extractor, options.batch, options.workers, boxes, options.dtype)
    say(f"{result.added} images added, {result.stored} in {options.out}")
    listed = options.out.with_name(f"{options.out.name}.bad.txt")
    if result.bad and distributed.is_main():
        write_bad_list(listed, result.bad)
        say(f"{len(result.bad)} images skipped, see {listed}; the first: {result.bad[0].key}: {result.bad[0].reason}")


if __name__ == "__main__":
    run_main(run)
