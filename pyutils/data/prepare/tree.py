"""Where official files lie below the data folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyutils.errors import InputError


@dataclass(frozen=True)
class Need:
    """A file that a builder reads.

    places: paths below the data folder; the first that exists is taken.
    purpose: what is built from it.
    optional: whether the set is complete without it.
    """

    places: tuple[str, ...]
    purpose: str
    optional: bool = False


class Tree:
    """The data folder. InputError when it does not exist."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if not root.is_dir():
            raise InputError(f"the data folder {root} does not exist: name yours with --root")

    def find(self, need: Need) -> Path | None:
        """The first of the need's places that is there."""
        there = (self.root / place for place in need.places)
        return next((path for path in there if path.is_file()), None)

    def folder(self, names: Sequence[str]) -> Path:
        """The first of the folders `names` that is there; the first of them when none is."""
        there = (self.root / name for name in names)
        return next((path for path in there if path.is_dir()), self.root / names[0])
