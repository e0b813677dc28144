"""Flickr30k Entities: sentences with marked phrases, and the boxes of their coreference chains as XML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from pyutils.formats.atomic import atomic_write
from pyutils.sample.language import Caption, Segment
from pyutils.sample.pool import Picture
from pyutils.sample.scenes import SIDE

_CHAINS_PER_PICTURE = 40
_SPLIT_FILES = {"train": "train.txt", "val": "val.txt", "test": "test.txt"}


class _Chains:
    """Numbers the things, groups of things and the ground of one picture."""

    def __init__(self, picture: Picture) -> None:
        self._next = picture.image_id * _CHAINS_PER_PICTURE
        self.of: dict[tuple[int, ...], int] = {}

    def number(self, segment: Segment) -> int:
        """The chain of what a segment names; the ground is the empty group."""
        if segment.things not in self.of:
            self.of[segment.things] = self._next
            self._next += 1
        return self.of[segment.things]


def write_entities(folder: Path, pictures: Sequence[Picture]) -> int:
    """Write `Sentences/ID.txt`, `Annotations/ID.xml` and the split lists; returns the number of marked phrases."""
    phrases = 0
    for picture in pictures:
        chains = _Chains(picture)
        lines = [_marked(caption, chains) for caption in picture.captions]
        phrases += sum(line.count("[/EN#") for line in lines)
        with atomic_write(folder / "Sentences" / f"{picture.name}.txt") as stream:
            stream.write("\n".join(lines) + "\n")
        with atomic_write(folder / "Annotations" / f"{picture.name}.xml") as stream:
            stream.write(_xml(picture, chains.of))
    for split, name in _SPLIT_FILES.items():
        with atomic_write(folder / name) as stream:
            stream.writelines(f"{picture.name}\n" for picture in pictures if picture.split == split)
    return phrases


def _marked(caption: Caption, chains: _Chains) -> str:
    """ "[/EN#41/other A red star] left of [/EN#42/other a blue cross] ." """
    words = []
    for place, segment in enumerate(caption.segments):
        text = segment.text if place else segment.text[0].upper() + segment.text[1:]
        if segment.things or segment.is_place:
            kind = "scene" if segment.is_place else "other"
            text = f"[/EN#{chains.number(segment)}/{kind} {text}]"
        words.append(text)
    return " ".join(words) + " ."


def _xml(picture: Picture, chains: dict[tuple[int, ...], int]) -> str:
    """One `object` a thing that is named, under every chain it belongs to; the ground is a scene without box."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{picture.name}.jpg"
    size = ElementTree.SubElement(root, "size")
    for name, value in (("width", SIDE), ("height", SIDE), ("depth", 3)):
        ElementTree.SubElement(size, name).text = str(value)
    for number, thing in enumerate(picture.scene.things):
        names = sorted(chain for things, chain in chains.items() if number in things)
        if not names:
            continue
        entry = _object(root, names)
        box = ElementTree.SubElement(entry, "bndbox")
        for name, edge in zip(("xmin", "ymin", "xmax", "ymax"), thing.box):
            ElementTree.SubElement(box, name).text = str(round(edge))
    if () in chains:
        entry = _object(root, [chains[()]])
        ElementTree.SubElement(entry, "scene").text = "1"
        ElementTree.SubElement(entry, "nobndbox").text = "0"
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _object(root: ElementTree.Element, names: list[int]) -> ElementTree.Element:
    entry = ElementTree.SubElement(root, "object")
    for name in names:
        ElementTree.SubElement(entry, "name").text = str(name)
    return entry
