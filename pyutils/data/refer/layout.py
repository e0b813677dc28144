"""Locate the files of the RefCOCO family; the known split schemes.

<root>/<dataset>/refs(<split_by>).p     the expressions, a pickle
<root>/<dataset>/instances.json         the objects and images, COCO annotations
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyutils.data.annotations.fields import check_known
from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike

#: Published split schemes of each data set; the first is the usual one.
SPLITTINGS: dict[str, tuple[str, ...]] = {
    "refcoco": ("unc", "google"),
    "refcoco+": ("unc",),
    "refcocog": ("umd", "google"),
}


@dataclass(frozen=True)
class ReferFiles:
    """The two files of one split scheme of one data set."""

    dataset: str
    split_by: str
    refs: Path
    instances: Path


def locate(root: PathLike, dataset: str, split_by: str | None = None) -> ReferFiles:
    """Find the files of `dataset` under `root`; `split_by` defaults to the usual split scheme.

    Raises InputError for an unknown data set or split scheme (naming the nearest known one) and for a missing file
    (naming its path, the files found instead, and how to download it).
    """
    check_known(dataset, SPLITTINGS, "referring-expression data set", str(root))
    split_by = split_by or SPLITTINGS[dataset][0]
    check_known(split_by, SPLITTINGS[dataset], "split scheme", dataset)
    folder = Path(root).expanduser() / dataset
    files = ReferFiles(dataset, split_by, folder / f"refs({split_by}).p", folder / "instances.json")
    for path in (files.refs, files.instances):
        if not path.is_file():
            found = sorted(item.name for item in folder.glob("refs(*).p"))
            raise InputError(
                f"{path}: no such file; in that directory: {', '.join(found) or 'none of this kind'}; download it with "
                f"bash download_dataset.sh {dataset} (into data/refer)"
            )
    return files
