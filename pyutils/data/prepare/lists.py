"""Find official files below the data folder; write lists and check that their images exist."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyutils.data.image_listing import ImageListing
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write, write_json


@dataclass(frozen=True)
class Need:
    """A file that a builder reads.

    paths: below the data folder; the first that exists is taken.
    purpose: what is built from it.
    optional: True if the set is complete without it.
    """

    paths: tuple[str, ...]
    purpose: str
    optional: bool = False


class Tree:
    """The data folder. Raises InputError when it does not exist."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if not root.is_dir():
            raise InputError(f"the data folder {root} does not exist: name yours with --root")

    def find(self, need: Need) -> Path | None:
        """Return the first of the need's paths that exists."""
        return next((self.root / path for path in need.paths if (self.root / path).is_file()), None)

    def folder(self, *names: str) -> Path:
        """Return the first of the folders `names` that exists, else the first of them."""
        return next((self.root / name for name in names if (self.root / name).is_dir()), self.root / names[0])


@dataclass(frozen=True)
class Written:
    """One written file: number of `entries`, of different `images` below `root`, and the `missing` images."""

    path: Path
    entries: int
    root: Path | None = None
    images: int = 0
    missing: tuple[str, ...] = ()


class Lists:
    """Writes lists into `folder`, each atomically, and keeps the facts for the report.

    With `check`, each image folder is scanned once: images get the path at which they were found, and missing ones are
    counted. Without it, images get the path that the official archives give them.
    """

    def __init__(self, folder: Path, check: bool = False) -> None:
        self.folder, self.check = folder, check
        self.written: list[Written] = []
        self.notes: list[str] = []
        self._listings: dict[Path, ImageListing] = {}

    def write(self, name: str, entries: Iterable[dict[str, Any]], images: Path) -> Written:
        """Write one list, an entry per line. `entries` name images below the folder `images` by "image" or "images".

        Raises InputError when there is no entry.
        """
        if self.check and images not in self._listings:
            self._listings[images] = ImageListing([images])
        exists: dict[str, bool] = {}
        count = write_list(self.folder / name, _resolved(entries, self._listings.get(images), exists))
        missing = tuple(image for image, found in exists.items() if not found)
        self.written.append(Written(self.folder / name, count, images, len(exists), missing))
        return self.written[-1]

    def write_value(self, name: str, value: Any, entries: int) -> None:
        """Write a file of another form: `value` as JSON."""
        write_json(self.folder / name, value, indent=None)
        self.written.append(Written(self.folder / name, entries))


def write_list(path: Path, entries: Iterable[dict[str, Any]]) -> int:
    """Write a JSON list, an entry per line, atomically; return the number of entries. InputError if there is none."""
    count = 0
    with atomic_write(path) as stream:
        for entry in entries:
            stream.write(",\n" if count else "[\n")
            stream.write(json.dumps(entry, ensure_ascii=False))
            count += 1
        if not count:
            raise InputError(f"{path}: nothing to write; are the official files complete?")
        stream.write("\n]\n")
    return count


def _resolved(
    entries: Iterable[dict[str, Any]], listing: ImageListing | None, exists: dict[str, bool]
) -> Iterator[dict[str, Any]]:
    """Replace the image paths of `entries` by those in `listing`, noting in `exists` which were found."""

    def resolve(image: str) -> str:
        # The folders are those of the archives, not of the annotations: files may have been unpacked elsewhere.
        path = image if listing is None else listing.relative(image) or listing.relative(image.rpartition("/")[2])
        exists[image] = path is not None
        return path or image

    for entry in entries:
        if "images" in entry:
            yield {**entry, "images": [resolve(image) for image in entry["images"]]}
        else:
            yield {**entry, "image": resolve(entry["image"])}
