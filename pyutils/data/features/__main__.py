"""`python -m pyutils.data.features`: convert, export, inspect, verify, subset and compare region features."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pyutils.data.features import operations
from pyutils.data.features.detect import FORMATS, open_regions
from pyutils.data.features.exporting import EXPORTS, export_features
from pyutils.data.features.packed import DTYPES, PackedRegions
from pyutils.errors import InputError, printable


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pyutils.data.features", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    known = argparse.ArgumentParser(add_help=False)
    known.add_argument("--format", choices=sorted(FORMATS), help="format of the source (default: detected)")
    target = argparse.ArgumentParser(add_help=False)
    target.add_argument("--dtype", choices=DTYPES, default=None, help="how features are stored (default: float16)")
    target.add_argument("--detector", help="name of the detector that made the features")
    target.add_argument("--provenance", help="where the features come from, in free text")

    for name, parents, paths, text in (
        ("convert", [known, target], ("source", "destination"), "convert any format to a packed store"),
        ("subset", [known, target], ("source", "destination"), "convert some images to a packed store"),
        ("export", [known], ("source", "destination"), "write an LMDB or .npy files for other programs"),
        ("inspect", [known], ("path",), "describe region features"),
        ("verify", [known], ("path",), "read everything and list damaged images"),
        ("compare", [], ("first", "second"), "measure the differences of two collections (exit 1 if there are any)"),
    ):
        command = commands.add_parser(name, parents=parents, help=text)
        for path in paths:
            command.add_argument(path, type=Path)
    commands.choices["export"].add_argument("--to", choices=sorted(EXPORTS), required=True, help="format to write")
    commands.choices["subset"].add_argument(
        "--keys", type=Path, required=True, help="text file with one image key per line"
    )
    commands.choices["compare"].add_argument(
        "--tolerance",
        type=float,
        help="largest absolute difference to accept (default: rounding to the coarser of both types)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0 done, 1 differences or damage found, 2 bad input."""
    options = build_parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except InputError as error:
        print(printable(f"error: {error}").replace("\n", "\n  "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; written images are kept, run the same command to resume", file=sys.stderr)
        return 130


def _convert(options: argparse.Namespace) -> int:
    """`convert` and `subset`."""
    source = open_regions(options.source, options.format)
    keys = _read_keys(options.keys) if options.command == "subset" else None
    same = isinstance(source, PackedRegions) and options.command == "subset"
    dtype = options.dtype or (source.spec.dtype if same else "float16")
    added = operations.convert_features(source, options.destination, dtype, options.detector, options.provenance, keys)
    store = open_regions(options.destination)
    kept = "" if added else "; all of them existed already and were kept"
    print(f"{added} images added, {len(store)} in {options.destination}{kept}")
    return 0


def _export(options: argparse.Namespace) -> int:
    """`export`."""
    added = export_features(open_regions(options.source, options.format), options.destination, options.to)
    print(f"{added} images added to {options.destination}")
    return 0


def _read_keys(path: Path) -> list[str]:
    """Read the keys of a text file, one per line."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    keys = [line.strip() for line in lines if line.strip()]
    if not keys:
        raise InputError(f"{path}: expected a text file with one image key per line")
    return keys


def _inspect(options: argparse.Namespace) -> int:
    """`inspect`."""
    print(table(("property", "value"), operations.summary(open_regions(options.path, options.format))))
    return 0


def _verify(options: argparse.Namespace) -> int:
    """`verify`."""
    source = open_regions(options.path, options.format)
    damaged = operations.find_damage(source)
    if not damaged:
        source.check_boxes()
        print(f"{len(source)} images in {options.path}, all intact")
        return 0
    print(table(("image", "damage"), damaged))
    print(f"{len(damaged)} of {len(source)} images in {options.path} are damaged", file=sys.stderr)
    return 1


def _compare(options: argparse.Namespace) -> int:
    """`compare`."""
    result = operations.compare(open_regions(options.first), open_regions(options.second))
    rows = [
        ("images in both", result.common),
        (f"only in {options.first}", result.only_first),
        (f"only in {options.second}", result.only_second),
        ("other number of regions or dimension", result.other_shape),
        ("other image size", result.other_size),
        ("largest difference of a feature", f"{result.feature_difference:.3g} {result.worst}".strip()),
        ("largest difference of a box, pixels", f"{result.box_difference:.3g}"),
        *result.matches.rows(),
    ]
    print(table(("", "value"), rows))
    reasons = result.reasons(options.tolerance)
    if reasons:
        print(f"they differ: {'; '.join(reasons)}", file=sys.stderr)
        return 1
    allowed = "rounding" if options.tolerance is None else f"{options.tolerance:g}"
    print("equal" if not result.feature_difference else f"equal: no feature differs by more than {allowed}")
    return 0


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[printable(str(cell), lines=False).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


_COMMANDS = {
    "convert": _convert,
    "subset": _convert,
    "export": _export,
    "inspect": _inspect,
    "verify": _verify,
    "compare": _compare,
}

if __name__ == "__main__":
    sys.exit(main())
