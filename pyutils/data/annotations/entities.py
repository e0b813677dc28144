"""Flickr30k Entities (Plummer et al., ICCV 2015): `Sentences/ID.txt`, `Annotations/ID.xml` and the split lists.

A sentence marks its phrases: "[/EN#41/people A man] in [/EN#42/clothing a hat] ."; number 0 means not visible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Union
from xml.etree import ElementTree

from pyutils.data.records import BoxXYXY, Phrase, PhraseRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError

_MARK = re.compile(r"\[/EN#(?P<chain>\d+)(?P<kinds>(?:/[^\s\]/]+)+)\s+(?P<words>[^\]\s][^\]]*)\]")


class Boxes(NamedTuple):
    """Size of an image and the boxes (left, top, right, bottom in pixels) of each coreference chain."""

    width: int
    height: int
    of_chain: dict[str, tuple[BoxXYXY, ...]]


def read(folder: Union[str, Path], split: Union[str, Path]) -> RecordTable[PhraseRecord]:
    """Read one record per sentence of the images in the list `split` ("train.txt", relative to `folder`).

    Phrases without a box (not visible, scenes, events) have empty `boxes`. Raises InputError naming the file and line
    for missing files, malformed marks and damaged XML, and when no phrase at all has a box.
    """
    root = Path(folder).expanduser()
    table = RecordTable(PhraseRecord, _records(root, root / split))
    if not any(phrase.boxes for record in table for phrase in record.phrases):
        raise InputError(
            f"{root / split}: no phrase of its {len(table)} sentences has a box: are Annotations/ those of Sentences/?"
        )
    return table


def _records(root: Path, listing: Path) -> Iterator[PhraseRecord]:
    for _, image in _lines(listing):
        boxes = read_boxes(root / "Annotations" / f"{image}.xml")
        path = root / "Sentences" / f"{image}.txt"
        for number, line in _lines(path):
            sentence, phrases = read_sentence(line, boxes, f"{path}: line {number + 1}")
            yield PhraseRecord(image, sentence, phrases, number, boxes.width, boxes.height)


def read_sentence(line: str, boxes: Boxes, where: str) -> tuple[str, tuple[Phrase, ...]]:
    """Return a marked sentence without its marks, and its phrases. Raises InputError for a malformed mark."""
    words: list[str] = []
    phrases = []
    end = 0
    for mark in _MARK.finditer(line):
        words += _plain(line[end : mark.start()], where)
        own = mark["words"].split()
        kinds = mark["kinds"].strip("/")
        marked = boxes.of_chain.get(mark["chain"], ())
        phrases.append(Phrase(len(words), len(words) + len(own), " ".join(own), mark["chain"], kinds, marked))
        words += own
        end = mark.end()
    words += _plain(line[end:], where)
    return " ".join(words), tuple(phrases)


def read_boxes(path: Path) -> Boxes:
    """Read the boxes of one image. Raises InputError naming the file if it is missing or malformed."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ValueError, LookupError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: cannot be read as XML: {error}") from error
    found: dict[str, list[BoxXYXY]] = {}
    try:
        width, height = (int(root.findtext(f"size/{name}", "0")) for name in ("width", "height"))
        for entry in root.iter("object"):
            box = entry.find("bndbox")
            if box is None:
                continue
            edges: Any = tuple(float(box.findtext(name, "")) for name in ("xmin", "ymin", "xmax", "ymax"))
            if not (edges[0] < edges[2] and edges[1] < edges[3]):
                raise ValueError(f"a box needs xmin < xmax and ymin < ymax, found {edges}")
            for name in entry.findall("name"):
                found.setdefault((name.text or "").strip(), []).append(edges)
    except ValueError as error:
        raise InputError(f"{path}: damaged sizes or boxes: {error}") from error
    return Boxes(width, height, {chain: tuple(boxes) for chain, boxes in found.items()})


def _plain(text: str, where: str) -> list[str]:
    if "[/EN#" in text:
        raise InputError(f'{where}: malformed mark; expected "[/EN#number/kind words]", found {text.strip()!r:.60}')
    return text.split()


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank with their numbers from 0."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return [(number, line.strip()) for number, line in enumerate(lines) if line.strip()]
