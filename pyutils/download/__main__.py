"""Data sets on the command line: `python -m pyutils.download --list`, or `bash download_dataset.sh --list`."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pyutils.config.command_line import run_main
from pyutils.download.catalogue import DataSet, Part, choose, read_table
from pyutils.download.progress import human_size
from pyutils.download.store import Store
from pyutils.download.transport import DownloadError, public_address
from pyutils.errors import InputError, closest, printable

Chosen = Sequence[tuple[DataSet, Part]]


class _Parser(argparse.ArgumentParser):
    """Raise InputError for bad arguments, which is printed like every other error of the user."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """List, check or download; return 1 when a requested part is not available."""
    parser = _command_line()
    options, unknown = parser.parse_known_args(arguments)
    for flag in unknown:
        known = closest(flag, parser._option_string_actions)
        raise InputError(f"unknown option {flag}" + (f": did you mean {known}?" if known else "; see --help"))
    warnings.showwarning = _show_warning
    mirrors = tuple(options.mirror) + tuple(os.environ.get("PYUTILS_MIRRORS", "").split())
    store = Store(options.root.expanduser(), mirrors, options.accept_mismatch, options.keep_archives)
    if options.list or options.check:
        chosen = choose(options.sets or list(read_table()), extras=True)
        return _list(store, chosen) if options.list else _check(store, chosen)
    if not options.sets:
        parser.print_help()
        return 0
    return _download(store, choose(options.sets))


def _command_line() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="download_dataset.sh",
        description="Download data sets. Downloads resume, are checked, and never leave an incomplete file in place.",
        epilog="Example: bash download_dataset.sh vqa2 coco2014:train2014 --root data",
    )
    parser.add_argument("sets", nargs="*", metavar="SET[:PART]", help="data sets or parts to download, check or list")
    parser.add_argument(
        "--list", action="store_true", help="list the data sets, their parts and which are already downloaded"
    )
    parser.add_argument("--check", action="store_true", help="check that every source is reachable; download nothing")
    parser.add_argument("--root", type=Path, default=Path("data"), help="directory of the data sets (default: data)")
    parser.add_argument(
        "--mirror",
        action="append",
        default=[],
        metavar="URL",
        help="URL or directory with <folder>/<file>, tried first; repeatable (also: PYUTILS_MIRRORS)",
    )
    parser.add_argument(
        "--accept_mismatch", action="store_true", help="keep a file whose size or checksum differs from the known one"
    )
    parser.add_argument("--keep_archives", action="store_true", help="keep archives after unpacking them")
    return parser


def _list(store: Store, chosen: Chosen) -> int:
    shown = None
    for data_set, part in chosen:
        if data_set is not shown:
            shown = data_set
            print(f"{data_set.name}: {data_set.about}\n  into {store.root / data_set.folder}; {data_set.licence}")
        if store.is_complete(data_set, part):
            state = "here"
        elif part.sources or part.pieces:
            state = "only by name" if part.extra else ""
        else:
            state = "by hand"
        print(f"    {part.name:<22} {human_size(part.size):>10}  {state:<12} {part.about}")
        if part.by_hand:
            print(f"{'':<50} {part.by_hand}")
    return 0


def _check(store: Store, chosen: Chosen) -> int:
    lost: list[tuple[str, str]] = []
    for data_set, part in chosen:
        name = f"{data_set.name}:{part.name}"
        probes = store.probe(data_set, part)
        for found in probes:
            print(
                f"{name:<34} {printable(_verdict(found, part), lines=False)}  {public_address(found.url)}", flush=True
            )
        if not probes:
            print(f"{name:<34} by hand: {part.by_hand}")
        elif part.pieces and any(found.problem for found in probes) or all(found.problem for found in probes):
            lost.append((name, part.by_hand))
    for name, by_hand in lost:
        print(f"{name} is not reachable" + (f"; by hand: {by_hand}" if by_hand else ""), file=sys.stderr)
    return 1 if lost else 0


def _verdict(found, part: Part) -> str:
    if found.problem:
        return f"NOT REACHABLE ({found.problem})"
    size = human_size(found.size)
    if part.size is not None and found.size not in (None, part.size):
        size += f", EXPECTED {part.size} bytes, FOUND {found.size}"
    return f"reachable, {size}, {'resumable' if found.resumable else 'not resumable'}"


def _download(store: Store, chosen: Chosen) -> int:
    """Download one part after another; a part that fails does not stop the others."""
    failed = 0
    for data_set, part in chosen:
        try:
            new = store.download(data_set, part)
        except DownloadError as error:
            failed += 1
            print(printable(f"error: {error}"), file=sys.stderr)
            continue
        print(f"{data_set.name}:{part.name}: {'done' if new else 'already here'}, in {store.root / data_set.folder}")
    if failed:
        print(f"{failed} of {len(chosen)} parts failed; run again to resume", file=sys.stderr)
    return 1 if failed else 0


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(printable(f"warning: {message}"), file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
