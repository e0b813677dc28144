"""Writing pairs as tar shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from pyutils.data.pairs.pair import Pair, encode_regions
from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike, atomic_write


def write_tar_shards(
    folder: PathLike, pairs: Iterable[Pair], pairs_per_shard: int = 5000, dtype: str = "float16"
) -> list[Path]:
    """Write `pairs` as `folder/pairs-000000.tar`, …, each whole or not at all; returns the files.

    Captions become JSON, pictures `.jpg` (as they are, whatever their format), regions `.npz` with features of
    `dtype`. One pair is held in memory at a time. Raises InputError for a key with a dot, which would be cut there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    iterator = iter(pairs)
    written: list[Path] = []
    for first in iterator:
        path = folder / f"pairs-{len(written):06d}.tar"
        with atomic_write(path, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
            _add(archive, first, dtype)
            for pair in islice(iterator, pairs_per_shard - 1):
                _add(archive, pair, dtype)
        written.append(path)
    return written


def _add(archive: tarfile.TarFile, pair: Pair, dtype: str) -> None:
    if "." in pair.image.rpartition("/")[2]:
        raise InputError(f"the key {pair.image!r} has a dot, where tar shards end a key: rename it")
    files = {"json": json.dumps({"caption": list(pair.captions)}).encode()}
    if pair.content is not None:
        files["jpg"] = pair.content
    if pair.regions is not None:
        files["npz"] = encode_regions(pair.regions, dtype)
    for extension, content in files.items():
        header = tarfile.TarInfo(f"{pair.image}.{extension}")
        header.size = len(content)
        archive.addfile(header, io.BytesIO(content))
