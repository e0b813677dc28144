"""List the image files of folders once, instead of checking the disk for each record."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Union

from pyutils.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
PathLike = Union[str, "os.PathLike[str]"]


class ImageListing:
    """The images below one or several folders, found by relative path, by file name, or by file name without suffix.

    Annotation files disagree on where their paths start, so a path that does not exist is looked up without its first
    folders, then by its name. Folders must agree as far as both paths have them: a missing "b/1.jpg" is never replaced
    by "a/1.jpg". Earlier roots take precedence; within one root, a name that is in two folders finds nothing.
    """

    def __init__(self, roots: Iterable[PathLike]) -> None:
        self.roots = tuple(Path(root).expanduser() for root in roots)
        self._paths: dict[str, int] = {}
        self._names: dict[str, tuple[int, str]] = {}
        self._twice: dict[str, tuple[str, str]] = {}
        for number, root in enumerate(self.roots):
            for relative in _relative_paths(root):
                self._paths.setdefault(relative, number)
                name = relative.rpartition("/")[2]
                for short in (name, name.rpartition(".")[0]):
                    first = self._names.setdefault(short, (number, relative))
                    if first[0] == number and first[1] != relative:
                        self._twice.setdefault(short, (first[1], relative))

    def __iter__(self) -> Iterator[str]:
        """Yield the relative paths, root by root, in name order."""
        return iter(self._paths)

    def _lookup(self, image: str) -> tuple[int, str] | None:
        path = rest = image.replace("\\", "/")
        while rest:
            if rest in self._paths and (rest == path or "/" in rest):
                return self._paths[rest], rest
            rest = rest.partition("/")[2]
        name = path.rpartition("/")[2]
        found = None if name in self._twice else self._names.get(name)
        return found if found is not None and same_folders(image, found[1]) else None

    def relative(self, image: str) -> str | None:
        """Find the path of an image below its root, with forward slashes; None when it is missing."""
        found = self._lookup(image)
        return None if found is None else found[1]

    def path(self, image: str) -> Path | None:
        """Find the file of an image; None when it is missing. Raises InputError when two files have that name."""
        found = self._lookup(image)
        if found is not None:
            return self.roots[found[0]] / found[1]
        name = image.replace("\\", "/").rpartition("/")[2]
        if name in self._twice and any(same_folders(image, path) for path in self._twice[name]):
            raise InputError(
                f"image {image!r} may be {' or '.join(self._twice[name])}: write its path from the image folder in the "
                "annotations, or point data.images at the right folder"
            )
        return None

    def missing(self, images: Iterable[str]) -> list[str]:
        """List those of `images` that are missing, in their order, each once."""
        return [image for image in dict.fromkeys(images) if self._lookup(image) is None]


def same_folders(first: str, second: str) -> bool:
    """Return True if the folders of two paths agree, compared from the file upwards as far as both have folders."""
    folders = [path.replace("\\", "/").split("/")[-2::-1] for path in (first, second)]
    return all(one == other for one, other in zip(*folders))


def file_names(folder: PathLike) -> frozenset[str]:
    """List the names of the files in `folder`, links to files included; empty when it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError:
        return frozenset()


def _relative_paths(folder: Path, prefix: str = "", above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """Yield every image file below `folder`, in name order, with forward slashes, `prefix` before each.

    Links are followed, but not into a folder that contains them (`above`: device and inode of those); folders that
    cannot be read are skipped.
    """
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    inside = above | {(status.st_dev, status.st_ino)}
    if inside == above:
        return
    for entry in entries:
        if entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file():
            yield prefix + entry.name
    for entry in entries:
        if entry.is_dir():
            yield from _relative_paths(folder / entry.name, f"{prefix}{entry.name}/", inside)
