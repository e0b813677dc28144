"""Load annotations by PaddleNLP's data set names from `~/.paddlenlp/datasets`, downloading missing files.

load_dataset("coco_captions")          # {"train": RecordTable, "val": RecordTable}
load_dataset("nlvr2", "dev")           # RecordTable of PairRecord
python -m pyutils.data.prepare.datasets vqa2   # downloads missing files, reads everything, prints counts
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union, overload

from pyutils.config.command_line import run_main
from pyutils.data.annotations import coco_captions, nlvr2
from pyutils.data.annotations.fields import check_known, get_split
from pyutils.data.table import RecordTable
from pyutils.data.vqa import annotations as vqa
from pyutils.download.archives import is_archive, unpack
from pyutils.download.catalogue import choose
from pyutils.download.transfer import fetch
from pyutils.download.transport import DownloadError
from pyutils.download.verify import Expected
from pyutils.errors import InputError

HOME = Path("~/.paddlenlp/datasets")


@dataclass(frozen=True)
class Known:
    """One data set: its `folder` below the home, `splits` name -> file, `extras` further files, the reader of a split.

    `parts`: file -> the part of `pyutils.download`'s catalogue that contains it ("set:part"). `unpack_at`: directory
    below the folder for the files of archives.
    """

    folder: str
    splits: Mapping[str, str]
    read: Callable[[Path], RecordTable]
    parts: Mapping[str, str]
    unpack_at: str = "."
    extras: tuple[str, ...] = ()


_COCO = {split: f"annotations/captions_{split}2014.json" for split in ("train", "val")}
_IMDB = {
    "train": "annotations/imdb_train2014.npy",
    "val": "annotations/imdb_val2014.npy",
    "minival": "annotations/imdb_minival2014.npy",
    "test": "annotations/imdb_test2015.npy",
}
_ANSWERS = "extras/vocabs/answers_vqa.txt"
_NLVR2 = {split: f"annotations/{split}.json" for split in ("train", "dev", "test1")}
DATASETS = {
    "coco_captions": Known(
        "COCOCaptions", _COCO, coco_captions.read, dict.fromkeys(_COCO.values(), "coco2014:annotations")
    ),
    "vqa2": Known(
        "VQA2",
        _IMDB,
        vqa.read_imdb,
        {**dict.fromkeys(_IMDB.values(), "vqa2-imdb:imdb"), _ANSWERS: "vqa2-imdb:answers"},
        "annotations",
        (_ANSWERS,),
    ),
    "nlvr2": Known("NLVR2", _NLVR2, nlvr2.read, {file: f"nlvr2:{split}" for split, file in _NLVR2.items()}),
}


@overload
def load_dataset(name: str, split: str, **options: Any) -> RecordTable: ...


@overload
def load_dataset(name: str, split: None = None, **options: Any) -> dict[str, RecordTable]: ...


def load_dataset(  # type: ignore[misc]
    name: str,
    split: Optional[str] = None,
    home: Union[str, Path, None] = None,
    md5: Optional[Mapping[str, str]] = None,
    accept_mismatch: bool = False,
    download: bool = True,
) -> Union[RecordTable, dict[str, RecordTable]]:
    """Load the records of one split of a data set, or of all of them by name.

    Args:
        name: "coco_captions", "vqa2" or "nlvr2".
        split: "train", "val", …; None for all.
        home: directory of the data sets, default `~/.paddlenlp/datasets`.
        md5: file name ("train.json") -> its expected MD5 sum.
        accept_mismatch: warn about a file with another sum instead of raising.
        download: download missing files; otherwise they are errors.

    Raises:
        InputError: an unknown name or split; a file with another sum or format, without records, or missing and not
            downloadable; a sum for a file that is not read.
    """
    check_known(name, DATASETS, "data set", "load_dataset")
    known = DATASETS[name]
    folder = Path(home or HOME).expanduser() / known.folder
    files = known.splits if split is None else {split: get_split(known.splits, split, name)}
    needed = (*files.values(), *known.extras)
    for file in md5 or {}:
        check_known(file, [Path(one).name for one in needed], "file", "md5")
    for file in needed:
        _find(known, folder, file, download, accept_mismatch)
        _check_sum(folder / file, (md5 or {}).get(Path(file).name), accept_mismatch)
    tables = {one: known.read(folder / file) for one, file in files.items()}
    for one, table in tables.items():
        if not len(table):
            raise InputError(f"{folder / files[one]}: holds no record; delete it to download it again")
    return tables if split is None else tables[split]


def _find(known: Known, folder: Path, file: str, download: bool, accept_mismatch: bool) -> None:
    """Provide `folder/file`: it exists, is unpacked from an archive beside it, or is downloaded."""
    if (folder / file).is_file():
        return
    ((_, part),) = choose([known.parts[file]])
    archive = is_archive(part.file)
    target = (folder if archive else (folder / file).parent) / part.file
    try:
        if download or target.is_file():
            facts: dict[str, Any] = {"size": part.size, "sha256": part.sha256, "md5": part.md5}
            fetch(part.sources, target, **facts, accept_mismatch=accept_mismatch)
    except DownloadError as error:
        raise InputError(f"{folder / file} is missing and could not be downloaded: {error}") from error
    if archive and target.is_file():
        _unpack(target, folder / known.unpack_at)
    if not (folder / file).is_file():
        where = ", ".join(part.sources) or part.by_hand
        raise InputError(f"{folder / file} is missing: put it there, or download it from {where}")


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack, and move the files of the archive's folder imdb/ into `folder`."""
    for written in unpack(archive, folder):
        if written.parent != folder and written.parent.name == "imdb":
            written.replace(folder / written.name)


def _check_sum(path: Path, md5: Optional[str], accept_mismatch: bool) -> None:
    if md5 is None:
        return
    problem = Expected(md5=md5).mismatch(path)
    if problem and not accept_mismatch:
        raise InputError(f"{path}: {problem}; replace the file, or accept it with accept_mismatch")
    if problem:
        warnings.warn(f"{path}: {problem}; used nevertheless", stacklevel=3)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Download and read the data sets of the command line; print the number of records of each split."""
    parser = argparse.ArgumentParser(prog="python -m pyutils.data.prepare.datasets", description="Annotations by name")
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(DATASETS))
    parser.add_argument("--home", default=os.fspath(HOME), help=f"directory of the data sets (default {HOME})")
    parser.add_argument("--accept_mismatch", action="store_true", help="use files whose sums differ, with a warning")
    parser.add_argument("--offline", action="store_true", help="download nothing")
    options = parser.parse_args(arguments)
    for name in options.names:
        found = load_dataset(
            name, home=options.home, accept_mismatch=options.accept_mismatch, download=not options.offline
        )
        for split, table in found.items():
            print(f"{name} {split}: {len(table)} records")
    return 0


if __name__ == "__main__":
    run_main(main)
