"""Which files make up the splits of VCR."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyutils.config import setting
from pyutils.data.annotations import vcr
from pyutils.data.records import VCRRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError, nearest


@dataclass(frozen=True)
class VCRConfig:
    """The `vcr:` section of a configuration."""

    root: str = setting("~/.paddlenlp/datasets/VCR", "Folder that the paths below are relative to.")
    images: str = setting("vcr1images", "Pictures' folder with a metadata file (boxes, size) beside each picture.")
    splits: dict[str, str] = setting({}, "Split name -> its JSON lines.")


def read_split(config: VCRConfig, name: str) -> RecordTable[VCRRecord]:
    """The records of split `name`, with boxes. InputError for a split that is not configured, and malformed files."""
    if name not in config.splits:
        raise InputError(f"vcr.splits has no split {name!r}: {nearest(name, config.splits)}")
    root = Path(config.root).expanduser()
    return vcr.read(root / config.splits[name], root / config.images)
