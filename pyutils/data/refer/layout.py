"""Locate the RefCOCO family on disk; the known splittings.

<root>/<dataset>/refs(<split_by>).p     the expressions, a pickle
<root>/<dataset>/instances.json         the objects and images, COCO annotations
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike

#: Published splittings of each data set; the first is the usual one.
SPLITTINGS: dict[str, tuple[str, ...]] = {
    "refcoco": ("unc", "google"),
    "refcoco+": ("unc",),
    "refcocog": ("umd", "google"),
}


@dataclass(frozen=True)
class ReferFiles:
    """The two files that one splitting of one data set consists of."""

    dataset: str
    split_by: str
    refs: Path
    instances: Path


def locate(root: PathLike, dataset: str, split_by: str | None = None) -> ReferFiles:
    """The files of `dataset` under `root`; `split_by` defaults to the usual splitting.

    Raises InputError for an unknown data set or splitting (naming the nearest known one) and for a missing file
    (naming its path, what is there instead, and how to get it).
    """
    if dataset not in SPLITTINGS:
        raise InputError(f"unknown referring-expression data set {dataset!r}: {nearest(dataset, SPLITTINGS)}")
    known = SPLITTINGS[dataset]
    split_by = split_by or known[0]
    if split_by not in known:
        raise InputError(f"{dataset} has no splitting {split_by!r}: {nearest(split_by, known)}")
    folder = Path(root).expanduser() / dataset
    files = ReferFiles(dataset, split_by, folder / f"refs({split_by}).p", folder / "instances.json")
    for path in (files.refs, files.instances):
        if not path.is_file():
            raise InputError(_missing(path, folder, dataset))
    return files


def _missing(path: Path, folder: Path, dataset: str) -> str:
    there = "the folder does not exist"
    if folder.is_dir():
        splittings = sorted(re.findall(r"refs\(([^)]*)\)\.p", "\n".join(item.name for item in folder.iterdir())))
        there = f"splittings found there: {', '.join(splittings) or 'none'}"
    hint = f"get it with: bash download_dataset.sh {dataset}, which puts it under data/refer"
    return f"{path}: no such file ({there}); {hint}"
