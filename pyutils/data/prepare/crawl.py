"""Pre-training pairs of a web crawl: `python -m pyutils.data.prepare.crawl TSV --images FOLDER --output LIST`.

A crawl publishes captions and addresses (Conceptual Captions, CC12M, SBU …); the images are what could still be
downloaded. The list has the pairs whose image is on disk.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional
from urllib.parse import unquote, urlsplit

import numpy as np

from pyutils.config.command_line import run_main
from pyutils.data.prepare.lists import write_list
from pyutils.errors import InputError
from pyutils.text.cleaning import has_words

CAPTIONS = ("caption", "captions", "text", "title", "sentence")
ADDRESSES = ("url", "image_url", "link")
FILES = ("image", "file", "path", "filename", "file_name", "image_path", "key")
_NAME_FIELDS = "{row}: number of the row from 0, {line}: from 1, {name}: last part of the address, {sha1}, {md5}: of it"


class Columns(NamedTuple):
    """Numbers of the columns of a table: `image` is a file name, or with `is_address` an address."""

    caption: int
    image: int
    is_address: bool
    header: bool


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(
        prog="paddle-vl data crawl",
        description="Make a pre-training list of a table of captions and addresses, and of the images downloaded.",
        allow_abbrev=False,
    )
    parser.add_argument("tables", nargs="+", type=Path, metavar="TSV", help="tab-separated captions and addresses")
    parser.add_argument("--images", type=Path, required=True, help="directory of the downloaded images")
    parser.add_argument("--output", type=Path, required=True, help="the list to write (JSON)")
    parser.add_argument("--name", help=f"file name of an image below --images, e.g. '{{row:09d}}.jpg' ({_NAME_FIELDS})")
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Write the list and say what was left out. Raises InputError when no image is found."""
    options = command_line().parse_args(arguments)
    if not options.images.is_dir():
        raise InputError(f"--images {options.images}: no such directory; give that of the downloaded images")
    counts: Counter[str] = Counter()
    written = write_list(options.output, pairs(options.tables, options.images, options.name, counts))
    print(f"{options.output}: {written:,} of {counts['rows']:,} pairs, images below {options.images}")
    reasons = {
        "absent": "have no image there",
        "shared": "have a file name that other addresses have too (give --name)",
        "wordless": "have a caption without letter or digit",
    }
    for reason, text in reasons.items():
        if counts[reason]:
            print(f"left out: {counts[reason]:,} {text}")
    return 0


def pairs(tables: Sequence[Path], images: Path, name: str | None, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield {"image", "caption"} of the rows whose image is on disk, and count rows and reasons to leave one out.

    Without `name`, the file name is the table's or the last part of the address; rows with different addresses but
    one file name are left out, since a download keeps one image of them. Raises InputError when no image is found.
    """
    rows = [(table, columns_of(table)) for table in tables]
    shared = frozenset() if name else _shared_names(rows)
    found = 0
    for table, columns in rows:
        for row, (caption, image) in enumerate(_rows(table, columns)):
            counts["rows"] += 1
            file = _file_name(name, row, image) if name else _last_part(image, columns)
            if not has_words(caption):
                counts["wordless"] += 1
            elif _number(file) in shared:
                counts["shared"] += 1
            elif not file or not (images / file).is_file():
                counts["absent"] += 1
            else:
                found += 1
                yield {"image": file, "caption": caption}
    if not found:
        raise InputError(
            f"{images}: none of the {counts['rows']:,} images is there, e.g. {file or 'a row without name'}: name the "
            "files with --name"
        )


def columns_of(table: Path) -> Columns:
    """Find the columns of captions and images from the header, or without one from the first row's address.

    Raises InputError for a table in which they cannot be told.
    """
    first = next(_lines(table), None)
    if first is None:
        raise InputError(f"{table}: the table is empty")
    names = [field.strip().lower() for field in first]
    caption = next((names.index(known) for known in CAPTIONS if known in names), None)
    file = next((names.index(known) for known in FILES if known in names), None)
    address = next((names.index(known) for known in ADDRESSES if known in names), None)
    if caption is not None and (file is not None or address is not None):
        image = address if file is None else file
        assert image is not None
        return Columns(caption, image, file is None, header=True)
    found = [number for number, field in enumerate(names) if "://" in field]
    if len(names) == 2 and len(found) == 1:
        return Columns(1 - found[0], found[0], is_address=True, header=False)
    raise InputError(
        f"{table}: line 1: expected a caption and an address, or a header with {'/'.join(CAPTIONS[:2])} and "
        f"{'/'.join((*ADDRESSES[:1], *FILES[:2]))}, found {first!r:.80}"
    )


def _lines(table: Path) -> Iterator[list[str]]:
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            # Captions contain quotation marks that open no field.
            yield from csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as tab-separated UTF-8 text: {error}") from error


def _rows(table: Path, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield caption and image of each row. Raises InputError naming a line that lacks one."""
    needed = max(columns.caption, columns.image)
    for line, fields in enumerate(_lines(table), start=1):
        if (line == 1 and columns.header) or not fields:
            continue
        if len(fields) <= needed:
            raise InputError(
                f"{table}: line {line}: expected {needed + 1} columns, found {len(fields)}: {fields!r:.80}"
            )
        yield fields[columns.caption].strip(), fields[columns.image].strip()


def _last_part(image: str, columns: Columns) -> str:
    return unquote(urlsplit(image).path).rpartition("/")[2] if columns.is_address else image


def _file_name(pattern: str, row: int, address: str) -> str:
    digests = {kind: hashlib.new(kind, address.encode(), usedforsecurity=False).hexdigest() for kind in ("sha1", "md5")}
    last = unquote(urlsplit(address).path).rpartition("/")[2]
    try:
        return pattern.format(row=row, line=row + 1, name=last, **digests)
    except (LookupError, ValueError, AttributeError) as error:
        raise InputError(f"--name {pattern!r}: {error}; it may have {_NAME_FIELDS}") from error


def _number(name: str) -> int:
    """A number of 64 bits that stands for a name: ten million of them take 80 MB, the names ten times as much."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), sys.byteorder)


def _shared_names(tables: Sequence[tuple[Path, Columns]]) -> frozenset[int]:
    """Return the numbers of the file names that different addresses have."""

    def numbers() -> Iterator[tuple[int, int]]:
        for table, columns in tables:
            if columns.is_address:
                yield from ((_number(_last_part(image, columns)), _number(image)) for _, image in _rows(table, columns))

    known = np.fromiter(numbers(), dtype=np.dtype("u8,u8"))
    names, counts = np.unique(np.unique(known)["f0"], return_counts=True)
    return frozenset(names[counts > 1].tolist())


if __name__ == "__main__":
    run_main(main)
