"""SNLI-VE lists from the authors' JSON lines; the images are Flickr30k's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyutils.data.annotations import classified
from pyutils.data.prepare.captions import FLICKR_FOLDER
from pyutils.data.prepare.lists import Lists, Need, Tree
from pyutils.data.records import EntailmentRecord
from pyutils.data.table import RecordTable


def _lines(split: str) -> Need:
    name = f"snli_ve_{split}.jsonl"
    return Need((f"snli_ve/{name}", f"snli-ve/{name}", f"flickr30k/{name}"), f"examples of {split}")


SPLITS: dict[str, Need] = {f"ve_{split}.json": _lines(split) for split in ("train", "dev", "test")}
NEEDS = tuple(SPLITS.values())


def build(tree: Tree, lists: Lists) -> None:
    """Write ve_{train,dev,test}.json as far as their files exist, without the examples that have no gold label."""
    images = tree.folder("flickr30k")
    for name, need in SPLITS.items():
        path = tree.find(need)
        if path is None:
            continue
        records = classified.read(path)
        written = lists.write(name, _entries(records), images)
        if written.entries < len(records):
            lists.notes.append(f"{name}: {len(records) - written.entries} examples without a gold label left out")


def _entries(records: RecordTable[EntailmentRecord]) -> Iterator[dict[str, Any]]:
    for record in records:
        if record.label is not None:
            yield {
                "image": f"{FLICKR_FOLDER}/{record.image}.jpg",
                "sentence": record.sentence,
                "label": record.label,
                "identifier": record.identifier,
            }
