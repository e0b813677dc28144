"""Open the region features at a path, and compare records with them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.data.features.folder import FolderRegions, ThRegions
from pyutils.data.features.hdf5 import Hdf5Regions
from pyutils.data.features.lmdb_regions import LmdbRegions
from pyutils.data.features.packed import DATA_FILE, PackedRegions, is_packed
from pyutils.data.features.source import RegionSource
from pyutils.data.features.tsv import TsvRegions
from pyutils.errors import InputError, nearest

FORMATS: dict[str, type[RegionSource]] = {
    reader.format: reader for reader in (PackedRegions, LmdbRegions, FolderRegions, Hdf5Regions, TsvRegions, ThRegions)
}
_SUFFIXES = {
    ".lmdb": "lmdb",
    ".mdb": "lmdb",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".tsv": "tsv",
    ".th": "th",
    ".pth": "th",
}
_NAMED = 5


def open_regions(path: str | Path, format: str | None = None, **options: Any) -> RegionSource:
    """Open the region features at `path`.

    Args:
        path: a folder or a file.
        format: one of FORMATS; detected from the files when None.
        options: passed to the reader (`spec`; `columns` for TSV; `regions` for `.th`).

    Raises:
        InputError: nothing at `path`, or no known format; the message lists what was looked for.
    """
    path = Path(path)
    if not path.exists():
        near = _nearest_folder(path)
        raise InputError(f"no region features at {path}: it does not exist{near}")
    if format is None:
        format = detect_format(path)
    if format not in FORMATS:
        raise InputError(f"unknown region format '{format}': {nearest(format, FORMATS)}")
    return FORMATS[format](path, **options)


def detect_format(path: Path) -> str:
    """Name of the format of the features at `path`. Raises InputError listing what was looked for."""
    if path.is_file():
        if path.suffix.lower() in _SUFFIXES:
            return _SUFFIXES[path.suffix.lower()]
        raise InputError(
            f"{path}: the format cannot be detected from '{path.suffix}'; known files: {', '.join(_SUFFIXES)}. "
            f"Give `format`, one of {', '.join(FORMATS)}"
        )
    if is_packed(path):
        return "packed"
    if (path / DATA_FILE).is_file():
        raise InputError(f"{path} is a packed store without its index: copy it again, or convert again")
    if (path / "data.mdb").is_file():
        return "lmdb"
    if _has_arrays(path):
        return "folder"
    single = [entry for entry in sorted(path.iterdir()) if entry.suffix.lower() in _SUFFIXES]
    hint = f"; it holds {', '.join(entry.name for entry in single[:4])}: give the path of one of them" if single else ""
    raise InputError(
        f"no region features in {path}: looked for a packed store ({DATA_FILE}), an LMDB (data.mdb), and .npy or .npz "
        f"files at any depth{hint}"
    )


def _has_arrays(path: Path) -> bool:
    """True when the folder or one below it has a `.npy` or `.npz` file; stops at the first."""
    folders = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name.endswith((".npy", ".npz")):
                return True
            if entry.is_dir():
                folders.append(entry.path)
    return any(_has_arrays(Path(folder)) for folder in folders)


def _nearest_folder(path: Path) -> str:
    """What the deepest existing parent holds, for a path that does not exist."""
    parent = next((parent for parent in path.parents if parent.is_dir()), None)
    if parent is None:
        return ""
    names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))[:8]
    return f"; {parent} holds {', '.join(names) or 'nothing'}"


@dataclass(frozen=True)
class Kept:
    """Records that can be used."""

    indices: np.ndarray
    """[kept] int64, positions of the records whose images all have features."""
    skipped: int
    """Number of records left out."""
    missing_images: int
    """Number of distinct images without features."""

    def describe(self) -> str:
        """A line for the log."""
        return (
            f"{len(self.indices)} records kept, {self.skipped} skipped: {self.missing_images} images have no features"
        )


def keep_available(
    source: RegionSource, *image_keys: Iterable[str], policy: str = "error", option: str = "data.missing"
) -> Kept:
    """Compare the images that records name with those a source holds.

    Args:
        source: the features.
        image_keys: one sequence of keys a record's image: one for most tasks, two (left, right) for pairs.
        policy: `error` refuses any missing image, `skip` leaves its records out.
        option: name of the setting, for the message.

    Raises:
        InputError: images are missing and the policy is `error`, or all records would be skipped.
    """
    columns = [[str(key) for key in column] for column in image_keys]
    distinct = list(dict.fromkeys(key for column in columns for key in column))
    absent = set(source.missing(distinct))
    total = len(columns[0]) if columns else 0
    usable = np.ones(total, dtype=bool)
    for column in columns:
        usable &= np.fromiter((key not in absent for key in column), dtype=bool, count=total)
    kept = Kept(np.flatnonzero(usable), int(total - usable.sum()), len(absent))
    if absent and (policy != "skip" or not len(kept.indices)):
        first = ", ".join([key for key in distinct if key in absent][:_NAMED])
        remedy = (
            f"set {option}: skip to leave their records out"
            if policy != "skip"
            else "no record would be left: is this the folder of another split?"
        )
        raise InputError(
            f"{source.path} has no features for {len(absent)} of {len(distinct)} images ({kept.skipped} of {total} "
            f"records), among them {first}: {remedy}"
        )
    return kept
