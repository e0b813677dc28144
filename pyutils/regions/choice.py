"""The choice of an extractor on a command line, and as text in the features' description, which opens it again."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pyutils.config.command_line import Flag, positive
from pyutils.errors import InputError

if TYPE_CHECKING:  # networks import Paddle, which takes seconds
    from pyutils.regions.extractors import Extractor

DEFAULT_CELLS = 7
DEFAULT_SIZE = 224
_DETECTOR_ONLY = ("detector_config", "boxes", "class_probs")
_GRID_ONLY = ("weights", "cells", "size", "global_region")


def box_range(text: str) -> tuple[int, int]:
    """Read `10:100`, or `36` for exactly 36. Raises ArgumentTypeError otherwise."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if not match or not 1 <= int(match[1]) <= int(match[2] or match[1]):
        raise argparse.ArgumentTypeError(f"expected MIN:MAX such as 10:100, or one number, found {text!r}")
    return int(match[1]), int(match[2] or match[1])


EXTRACTOR_FLAGS = (
    Flag("--detector", None, help="bottom-up detector: a weight file, a folder or a known name"),
    Flag("--backbone", None, help="grid: efficientnet-lite0, a classifier of paddle.vision.models, or an .onnx file"),
    Flag("--detector_config", None, help="config.yaml of the detector (default: beside its weights)"),
    Flag("--boxes", None, type=box_range, help="detector: boxes per image, MIN:MAX or one number (default: 36)"),
    Flag("--class_probs", None, type=bool, help="detector: keep the class probabilities"),
    Flag("--weights", None, help="grid: weight file of the backbone (default: the published ones)"),
    Flag("--cells", None, type=positive, help=f"grid: cells on each side (default: {DEFAULT_CELLS})"),
    Flag("--size", None, type=positive, help=f"grid: side of the resized image (default: {DEFAULT_SIZE})"),
    Flag("--global_region", None, type=bool, help="grid: the whole image as first region"),
)
"""They choose an extractor: one of --detector and --backbone, and settings of that kind."""
NAMES = tuple(str(flag.names)[2:] for flag in EXTRACTOR_FLAGS)
DRAW_FLAG = "draw_regions"
REGION_FLAGS = (*EXTRACTOR_FLAGS, Flag(f"--{DRAW_FLAG}", None, help="PNG to draw the regions of --image into"))
"""Those of `run_predict.py`, where they describe --image."""
REGION_NAMES = (*NAMES, DRAW_FLAG)


def add_extractor_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose an extractor, with hyphens, to a plain parser."""
    kind = parser.add_mutually_exclusive_group(required=True)
    for flag, name in zip(EXTRACTOR_FLAGS, NAMES):
        group = kind if name in ("detector", "backbone") else parser
        value: dict[str, Any] = {"action": "store_true"} if flag.type is bool else {"type": flag.type}
        group.add_argument(f"--{name.replace('_', '-')}", dest=name, help=flag.help, **value)


def open_extractor(options: argparse.Namespace) -> Extractor:
    """Open the extractor that the parsed flags choose; its `spec.extractor` is their text.

    Raises:
        InputError: flags of the other kind of extractor, or as `open_detector` and `open_backbone`.
    """
    from pyutils.regions.extractors import open_backbone, open_detector

    foreign = _GRID_ONLY if options.detector else _DETECTOR_ONLY
    for name in foreign:
        if getattr(options, name):
            flag, kind = name.replace("_", "-"), "--backbone" if options.detector else "--detector"
            raise InputError(f"--{flag} is for {kind} only: leave it out, or give {kind}")
    extractor: Extractor
    if options.detector:
        extractor = open_detector(options.detector, options.boxes, options.class_probs, options.detector_config)
    else:
        cells = DEFAULT_CELLS if options.cells is None else options.cells
        size = DEFAULT_SIZE if options.size is None else options.size
        extractor = open_backbone(options.backbone, cells, size, options.global_region, options.weights)
    extractor.spec = replace(extractor.spec, extractor=flags_text(vars(options)))
    return extractor


def flags_text(values: Mapping[str, Any]) -> str:
    """Return the flags `values` (name → value) as text for `parse_extractor`; files get their absolute paths."""
    words: list[str] = []
    for name in NAMES:
        value = values.get(name)
        if value is None or value is False:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if name == "boxes":
            words.append(f"{value[0]}:{value[1]}")
        elif value is not True:
            words.append(_absolute(str(value)))
    return shlex.join(words)


def parse_extractor(text: str, where: str) -> argparse.Namespace:
    """Parse the text of `flags_text`. Raises InputError naming `where` for anything else."""

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise InputError(f"{where}: {message}")

    parser = Parser(add_help=False, allow_abbrev=False)
    add_extractor_flags(parser)
    return parser.parse_args(shlex.split(text))


def _absolute(value: str) -> str:
    path = Path(value).expanduser()
    return str(path.absolute()) if path.exists() else value
