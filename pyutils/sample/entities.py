"""Flickr30k Entities: sentences with marked phrases, and the boxes of their coreference chains as XML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from pyutils.formats.atomic import atomic_write
from pyutils.sample.language import Caption
from pyutils.sample.pool import SampleImage
from pyutils.sample.scenes import SIDE

_CHAINS_PER_IMAGE = 40

# The group of things that a phrase names -> its coreference chain; the ground is the empty group.
Chains = dict[tuple[int, ...], int]


def write_entities(folder: Path, images: Sequence[SampleImage]) -> int:
    """Write `Sentences/ID.txt`, `Annotations/ID.xml` and the split lists; returns the number of marked phrases."""
    phrases = 0
    for image in images:
        chains: Chains = {}
        lines = [_marked(caption, chains, image.image_id * _CHAINS_PER_IMAGE) for caption in image.captions]
        phrases += sum(line.count("[/EN#") for line in lines)
        with atomic_write(folder / "Sentences" / f"{image.name}.txt") as stream:
            stream.write("\n".join(lines) + "\n")
        with atomic_write(folder / "Annotations" / f"{image.name}.xml") as stream:
            stream.write(_xml(image, chains))
    for split in ("train", "val", "test"):
        with atomic_write(folder / f"{split}.txt") as stream:
            stream.writelines(f"{image.name}\n" for image in images if image.split == split)
    return phrases


def _marked(caption: Caption, chains: Chains, first_chain: int) -> str:
    """ "[/EN#41/other A red star] left of [/EN#42/other a blue cross] ."; new groups are added to `chains`."""
    words = []
    for number, segment in enumerate(caption.segments):
        text = segment.text if number else segment.text[0].upper() + segment.text[1:]
        if segment.things or segment.is_ground:
            chain = chains.setdefault(segment.things, first_chain + len(chains))
            text = f"[/EN#{chain}/{'scene' if segment.is_ground else 'other'} {text}]"
        words.append(text)
    return " ".join(words) + " ."


def _xml(image: SampleImage, chains: Chains) -> str:
    """One `object` per named thing, under every chain it belongs to; the ground is a scene without box."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{image.name}.jpg"
    _add(ElementTree.SubElement(root, "size"), {"width": SIDE, "height": SIDE, "depth": 3})
    for number, thing in enumerate(image.scene.things):
        names = sorted(chain for things, chain in chains.items() if number in things)
        if names:
            box = ElementTree.SubElement(_object(root, names), "bndbox")
            _add(box, {name: round(edge) for name, edge in zip(("xmin", "ymin", "xmax", "ymax"), thing.box)})
    if () in chains:
        _add(_object(root, [chains[()]]), {"scene": 1, "nobndbox": 0})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _object(root: ElementTree.Element, names: list[int]) -> ElementTree.Element:
    entry = ElementTree.SubElement(root, "object")
    for name in names:
        _add(entry, {"name": name})
    return entry


def _add(parent: ElementTree.Element, values: dict[str, int]) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = str(value)
