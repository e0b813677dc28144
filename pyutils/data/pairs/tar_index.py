"""Where each sample of tar shards lies: an Arrow table, kept in a file and mapped from it."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write

_CHUNK = 8192
_MEMBER = pa.struct([("extension", pa.string()), ("offset", pa.int64()), ("size", pa.int64())])
_SCHEMA = pa.schema([("shard", pa.int32()), ("key", pa.string()), ("members", pa.list_(_MEMBER))])


def default_folder() -> Path:
    """Where indexes are kept: $XDG_CACHE_HOME (else ~/.cache) / pyutils / pairs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyutils" / "pairs"


def load_index(shards: Sequence[Path], cache: Path) -> pa.Table:
    """The index of `shards`: from the file in the folder `cache`, made first when it is not there or a shard was
    changed (size or time). Mapped, so that its memory is shared and need not be there at once.

    Columns: shard int32 (place in `shards`), key text, members list of (extension, offset, size in bytes).
    Raises InputError, naming it, for a shard that is missing, no tar, or cut off.
    """
    file = cache / f"{_fingerprint(shards)}.arrow"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file, "wb") as stream, pa.ipc.new_file(stream, _SCHEMA) as writer:
            for batch in _batches(shards):
                writer.write_batch(batch)
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _fingerprint(shards: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for shard in shards:
        try:
            status = shard.stat()
        except OSError as error:
            raise InputError(f"{shard}: cannot be read: {error.strerror}") from error
        digest.update(f"{shard.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _batches(shards: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    rows: list[dict[str, Any]] = []
    for number, shard in enumerate(shards):
        for row in _samples(shard, number):
            rows.append(row)
            if len(rows) == _CHUNK:
                yield pa.RecordBatch.from_pylist(rows, _SCHEMA)
                rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, _SCHEMA)


def _samples(shard: Path, number: int) -> Iterator[dict[str, Any]]:
    """Samples of one shard: files that stand together and share their path up to the first dot of the name."""
    for key, group in groupby(_members(shard), key=lambda member: member[0]):
        members = [{"extension": ext, "offset": offset, "size": size} for _, ext, offset, size in group]
        yield {"shard": number, "key": key, "members": members}


def _members(shard: Path) -> Iterator[tuple[str, str, int, int]]:
    """(key, extension, offset, size) of each file of a shard; only headers are read."""
    end = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                if member.offset_data + member.size > end:
                    raise InputError(f"{shard} is cut off within {member.name}: copy or download it again")
                folder, _, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                yield key, extension.lower(), member.offset_data, member.size
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header it has seen
    except tarfile.TarError as error:
        raise InputError(f"{shard} cannot be read as an uncompressed tar file: {error}") from error
