"""Writing lists, and checking that the images they name exist."""

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
class Written:
    """One file that was written: its `entries`, the different `images` they name below `root`, and those `missing`."""

    path: Path
    entries: int
    root: Path | None = None
    images: int = 0
    missing: tuple[str, ...] = ()


class Lists:
    """Writes lists into `folder`, whole or not at all, and remembers what was written.

    With `check`, each image folder is listed once: images get the path at which they were found, and those that do not
    exist are counted. Without it, images get the path that the official archives give them.
    """

    def __init__(self, folder: Path, check: bool = False) -> None:
        self.folder, self.check = folder, check
        self.written: list[Written] = []
        self.notes: list[str] = []
        self._listings: dict[Path, ImageListing] = {}

    def write(self, name: str, entries: Iterable[dict[str, Any]], images: Path) -> Written:
        """Write one list, an entry a line. `entries` name images below the folder `images` by "image" or "images".

        Raises InputError when there is no entry: a list of nothing hides a mistake.
        """
        seen: dict[str, bool] = {}
        count = 0
        with atomic_write(self.folder / name) as stream:
            for entry in self._resolved(entries, images, seen):
                stream.write(",\n" if count else "[\n")
                stream.write(json.dumps(entry, ensure_ascii=False))
                count += 1
            if not count:
                raise InputError(f"{self.folder / name}: nothing to write; are the official files complete?")
            stream.write("\n]\n")
        missing = tuple(image for image, there in seen.items() if not there)
        return self._remember(Written(self.folder / name, count, images, len(seen), missing))

    def write_value(self, name: str, value: Any, entries: int) -> Written:
        """Write a file of another form: `value` as JSON."""
        write_json(self.folder / name, value, indent=None)
        return self._remember(Written(self.folder / name, entries))

    def note(self, text: str) -> None:
        """Remember a remark for the report."""
        self.notes.append(text)

    def _remember(self, written: Written) -> Written:
        self.written.append(written)
        return written

    def _resolved(
        self, entries: Iterable[dict[str, Any]], images: Path, seen: dict[str, bool]
    ) -> Iterator[dict[str, Any]]:
        listing = self._listing(images) if self.check else None
        for entry in entries:
            if "images" in entry:
                yield {**entry, "images": [_found(image, listing, seen) for image in entry["images"]]}
            else:
                yield {**entry, "image": _found(entry["image"], listing, seen)}

    def _listing(self, images: Path) -> ImageListing:
        if images not in self._listings:
            self._listings[images] = ImageListing([images])
        return self._listings[images]


def _found(image: str, listing: ImageListing | None, seen: dict[str, bool]) -> str:
    """The path of an image, noted in `seen` with whether it exists."""
    path = image if listing is None else listing.relative(image)
    seen[image] = path is not None
    return image if path is None else path
