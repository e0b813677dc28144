"""NLVR2 lists from the authors' JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyutils.data.annotations import nlvr2
from pyutils.data.prepare.lists import Lists, Need, Tree
from pyutils.formats.json_files import read_json_lines


def _lines(name: str) -> Need:
    paths = (f"nlvr2/{name}", f"nlvr2/data/{name}", f"nlvr2/annotations/{name}")
    return Need(paths, f"examples of {name.partition('.')[0]}")


# list: (official file, folder of its images)
SPLITS: dict[str, tuple[Need, str]] = {
    "nlvr_train.json": (_lines("train.json"), "images/train"),
    "nlvr_dev.json": (_lines("dev.json"), "dev"),
    "nlvr_test.json": (_lines("test1.json"), "test1"),
}
NEEDS = tuple(need for need, _ in SPLITS.values())


def build(tree: Tree, lists: Lists) -> None:
    """Write nlvr_{train,dev,test}.json (test: test-P) as far as their files exist."""
    images = tree.folder("nlvr2")
    for name, (need, folder) in SPLITS.items():
        path = tree.find(need)
        if path is not None:
            lists.write(name, _entries(path, folder), images)


def _entries(path: Path, folder: str) -> Iterator[dict[str, Any]]:
    # Training images are in numbered folders, the "directory" of their lines.
    folders = {str(line.get("identifier")): line.get("directory") for _, line in read_json_lines(path)}
    for record in nlvr2.read(path):
        number = folders[record.identifier]
        below = folder if number is None else f"{folder}/{number}"
        entry: dict[str, Any] = {
            "images": [f"{below}/{record.left}.png", f"{below}/{record.right}.png"],
            "sentence": record.sentence,
        }
        if record.label is not None:
            entry["label"] = str(record.label)
        yield {**entry, "identifier": record.identifier}
