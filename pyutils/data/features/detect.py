"""Open the region features at a path, and find the records whose images have none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyutils.data.features.folder import FolderRegions, ThRegions, array_files
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


def open_regions(path: str | Path, format: str | None = None) -> RegionSource:
    """Open the region features at `path`.

    Args:
        path: a folder or a file.
        format: one of FORMATS; detected from the files when None.

    Raises:
        InputError: nothing at `path`, or no known format; the message lists the known ones.
    """
    path = Path(path)
    if not path.exists():
        parent = next(parent for parent in path.absolute().parents if parent.is_dir())
        names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))[:8]
        raise InputError(f"{path} does not exist; {parent} holds {', '.join(names) or 'nothing'}")
    format = format or detect_format(path)
    if format not in FORMATS:
        raise InputError(f"unknown region format '{format}': {nearest(format, FORMATS)}")
    return FORMATS[format](path)


def detect_format(path: Path) -> str:
    """Detect the format of the features at `path`. Raises InputError, listing the known formats, when there is none."""
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
    if next(array_files(path), None):
        return "folder"
    single = [entry for entry in sorted(path.iterdir()) if entry.suffix.lower() in _SUFFIXES]
    hint = f"; it holds {', '.join(entry.name for entry in single[:4])}: give the path of one of them" if single else ""
    raise InputError(
        f"no region features in {path}: looked for a packed store ({DATA_FILE}), an LMDB (data.mdb), and .npy or .npz "
        f"files at any depth{hint}"
    )


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
    """Find the records whose images all have features.

    Args:
        source: the features.
        image_keys: one key per record, for each image of a record: once for most tasks, twice (left, right) for pairs.
        policy: `error` refuses any missing image, `skip` leaves its records out.
        option: name of the setting, for the message.

    Raises:
        InputError: images are missing and the policy is `error`, or no record is left.
    """
    columns = [[str(key) for key in column] for column in image_keys]
    distinct = list(dict.fromkeys(key for column in columns for key in column))
    missing = source.missing(distinct)
    absent = set(missing)
    usable = np.array([absent.isdisjoint(keys) for keys in zip(*columns)], dtype=bool)
    kept = Kept(np.flatnonzero(usable), int((~usable).sum()), len(missing))
    if missing and (policy != "skip" or not len(kept.indices)):
        remedy = "no record would be left: is this the folder of another split?"
        if policy != "skip":
            remedy = f"set {option}: skip to leave their records out"
        raise InputError(
            f"{source.path} has no features for {len(missing)} of {len(distinct)} images ({kept.skipped} of "
            f"{len(usable)} records), among them {', '.join(missing[:_NAMED])}: {remedy}"
        )
    return kept
