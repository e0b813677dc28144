"""Flickr8k's own files (Hodosh et al., JAIR 2013): `Flickr8k.token.txt` and a list of image names for each split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError


class Flickr8k(NamedTuple):
    """The splits by name; `outside`: how many images of the captions are in none of them."""

    splits: dict[str, RecordTable[CaptionRecord]]
    outside: int


def read(captions: Path, lists: Mapping[str, Path]) -> Flickr8k:
    """Read the images of each split with their captions, in the order of the split's list.

    `captions`: lines "NAME.jpg#0<tab>caption". `lists`: split -> file of image names. `image` is the file name.
    Raises InputError naming file and line for other lines, an image in two splits, and an image without captions.
    """
    texts = _captions(captions)
    owner: dict[str, Path] = {}
    splits = {}
    for split, path in lists.items():
        records = []
        for where, name in _lines(path):
            if name in owner:
                raise InputError(f"{where}: {name} is listed already in {owner[name]}; an image belongs to one split")
            owner[name] = path
            if name not in texts:
                raise InputError(f"{where}: {name} has no caption in {captions}; are both files of one release?")
            records.append(CaptionRecord(name, tuple(texts[name]), name))
        splits[split] = RecordTable(CaptionRecord, records)
    return Flickr8k(splits, len(texts.keys() - owner.keys()))


def _captions(path: Path) -> dict[str, list[str]]:
    """Return the captions of each image name, in the order of the file."""
    found: dict[str, list[str]] = {}
    for where, line in _lines(path):
        name, tab, caption = line.partition("\t")
        image, mark, _ = name.rpartition("#")
        if not (tab and mark and caption.strip()):
            raise InputError(f"{where}: expected NAME.jpg#NUMBER, a tab and a caption, found {line[:60]!r}")
        found.setdefault(image, []).append(caption.strip())
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("FILE: line N", line) for each line that is not empty. InputError for a file that is not UTF-8 text."""
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield f"{path}: line {number}", line.strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file (byte {error.start})") from error
