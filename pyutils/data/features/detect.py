"""Opening whatever region features lie at a path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pyutils.data.features.folder import FolderRegions
from pyutils.data.features.hdf5 import Hdf5Regions
from pyutils.data.features.lmdb_regions import LmdbRegions
from pyutils.data.features.packed import DATA_FILE, PackedRegions, is_packed
from pyutils.data.features.source import RegionSource
from pyutils.data.features.th import ThRegions
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


def open_regions(path: str | Path, format: str | None = None, **options: Any) -> RegionSource:
    """The region features at `path`.

    Args:
        path: a folder or a file.
        format: one of FORMATS; found out from what is there when None.
        options: passed to the reader (`spec`; `columns` for TSV; `regions` for `.th`).

    Raises:
        InputError: nothing is there, or nothing known; the message lists what was looked for.
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
    """Name of the format of what lies at `path`. Raises InputError listing what was looked for."""
    if path.is_file():
        if path.suffix.lower() in _SUFFIXES:
            return _SUFFIXES[path.suffix.lower()]
        raise InputError(
            f"{path}: the format cannot be told from '{path.suffix}'; known files: {', '.join(_SUFFIXES)}. "
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
    """Whether a `.npy` or `.npz` file lies in the folder or below it; stops at the first."""
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
