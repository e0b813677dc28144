"""Convert, inspect and compare weight files; list and download published ones."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyutils.config.command_line import run_main
from pyutils.formats.weight_files import read
from pyutils.packages import CHECKPOINTS, announced
from pyutils.weights import converting, registry
from pyutils.weights.bundle import finish_bundle
from pyutils.weights.places import resolve_weights


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    models = sorted(announced(CHECKPOINTS))
    parser = argparse.ArgumentParser(prog="python -m pyutils.weights", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("convert", help="write weights under our names or those of another code base")
    command.add_argument("source", help="file, folder or known name")
    command.add_argument("destination", type=Path, help="NAME.safetensors, NAME.pdparams or a folder")
    command.add_argument("--model", required=True, choices=models)
    command.add_argument("--dtype", choices=converting.DTYPES, help="type of floating-point tensors (default: as read)")
    command.add_argument("--names", help="write the names of this code base (a wrong value lists them)")
    command = commands.add_parser("inspect", help="print the tensors of a file, and which model it looks like")
    command.add_argument("source", help="file, folder or known name")
    command = commands.add_parser(
        "diff", help="print the tensors in which two files differ (exit status 1 when they do)"
    )
    command.add_argument("first")
    command.add_argument("second")
    command.add_argument(
        "--model",
        choices=models,
        help="compare under our names of this model",
    )
    command.add_argument(
        "--tolerance", type=_tolerance, default=0.0, help="largest difference of values that counts as equal"
    )
    command = commands.add_parser("bundle", help="finish a converted checkpoint folder to be shipped with the package")
    command.add_argument("folder", type=Path, help="converted weights with their configuration")
    command.add_argument("--name", required=True, help="its name in the registry")
    command.add_argument("--metrics", type=Path, required=True, help="metrics_<split>.json of an evaluation of them")
    command.add_argument("--set", action="append", default=[], help="key=value to replace in its configuration")
    command.add_argument("--data", required=True, help="the training data, for the model card")
    command.add_argument("--made_by", required=True, help="the command that makes it, for the model card")
    commands.add_parser("list", help="list known checkpoints")
    command = commands.add_parser("download", aliases=["fetch"], help="download a known checkpoint into the cache")
    command.add_argument("name")
    command.add_argument(
        "--accept_mismatch", action="store_true", help="keep a file whose size or checksum differs from the known one"
    )
    return parser


def _tolerance(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, found {text}")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; status 0, or 1 when `diff` found differences."""
    options = build_parser().parse_args(arguments)
    if options.command in ("convert", "diff"):
        return _convert(options) if options.command == "convert" else _diff(options)
    if options.command == "bundle":
        finish_bundle(options.folder, options.name, options.metrics, options.set, options.data, options.made_by)
    elif options.command == "inspect":
        print(converting.describe(resolve_weights(options.source)))
    elif options.command == "list":
        print(registry.describe())
    else:
        print(registry.download(options.name, options.accept_mismatch))
    return 0


def _convert(options: argparse.Namespace) -> int:
    source = resolve_weights(options.source)
    written = converting.convert_weights(source, options.destination, options.model, options.dtype, options.names)
    line = f"{len(written)} tensors of {source} written to {options.destination}"
    along = ", ".join(path.name for path in converting.companions(source))
    if along and converting.is_folder(options.destination):
        line += f", with {along}"
    elif along:
        line += f"; {along} not copied from {source.parent}: name a folder to copy them too"
    print(line)
    return 0


def _diff(options: argparse.Namespace) -> int:
    sides = []
    for source in (options.first, options.second):
        file = resolve_weights(source)
        tensors = read(file)
        sides.append(converting.to_ours(options.model, tensors, str(file)) if options.model else tensors)
    found = list(converting.differences(sides[0], sides[1], options.tolerance))
    if not found:
        print(f"{len(sides[0])} tensors, no difference")
        return 0
    print("| tensor | difference |\n|---|---|")
    for name, difference in found:
        print(f"| {converting.in_table(name)} | {difference} |")
    return 1


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
