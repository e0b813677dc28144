"""`python -m pyutils.sample easy-vqa|world`: make the sample data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pyutils.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status (2 when the user has something to put right)."""
    options = _parser().parse_args(arguments)
    try:
        made = options.run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: {'written' if made else 'already complete, nothing to do'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pyutils.sample", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    easy = commands.add_parser("easy-vqa", help="easy-VQA as VQA v2 files and region features")
    easy.add_argument("--output", type=Path, required=True, help="folder to write to")
    easy.add_argument("--seed", type=int, default=0, help="chooses the validation tenth (default 0)")
    easy.set_defaults(run=_easy_vqa)
    return parser


def _easy_vqa(options: argparse.Namespace) -> bool:
    from pyutils.sample.easy_vqa import convert

    return convert(options.output, options.seed)


if __name__ == "__main__":
    sys.exit(main())
