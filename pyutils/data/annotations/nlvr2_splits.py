"""Which files make up the splits of NLVR2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyutils.config import setting
from pyutils.data.annotations import nlvr2
from pyutils.data.records import PairRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError, nearest


@dataclass(frozen=True)
class NLVR2Config:
    """The `nlvr2:` section of a configuration."""

    root: str = setting("~/.paddlenlp/datasets/NLVR2", "Folder that the paths below are relative to.")
    splits: dict[str, str] = setting({}, "Split name -> its JSON lines.")


def read_split(config: NLVR2Config, name: str) -> RecordTable[PairRecord]:
    """The records of split `name`. InputError for a split that is not configured, and for a malformed file."""
    if name not in config.splits:
        raise InputError(f"nlvr2.splits has no split {name!r}: {nearest(name, config.splits)}")
    return nlvr2.read(Path(config.root).expanduser() / config.splits[name])
