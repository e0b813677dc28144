"""Pairs in tar shards, WebDataset's convention: files that share a name up to the first dot make a sample.

A sample has its caption in `KEY.txt` or `KEY.json` ({"caption": text or list}), and `KEY.jpg` (or png, webp) or
`KEY.npz` (region features) or both.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from pyutils.data.pairs.pair import Pair, PairSource, captions_of_json, decode_regions, encode_regions
from pyutils.errors import InputError
from pyutils.formats.atomic import PathLike, atomic_write

_CHUNK = 8192  # samples of one batch of the index
_IMAGES = ("jpg", "jpeg", "png", "webp")


class TarShards(PairSource):
    """The pairs of `shards`, in the order of the files.

    Reading a pair opens its shard and reads only its own bytes; nothing is kept, so workers can share one object.

    Raises:
        InputError: a shard cannot be read; when it is read, a sample without caption.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self.shards = [Path(shard) for shard in shards]
        self._length = self._index.num_rows

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_index"}

    @cached_property
    def _index(self) -> pa.Table:
        return load_index(self.shards)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index):
        where, key, found = self._read(index, texts_only=False)
        image = next((found[extension] for extension in _IMAGES if extension in found), None)
        regions = decode_regions(found["npz"], f"{where}, {key}.npz") if "npz" in found else None
        return Pair(key, _captions(found, f"{where}, sample {key}"), image, regions)

    def captions(self, index: int) -> tuple[str, ...]:
        where, key, found = self._read(index, texts_only=True)
        return _captions(found, f"{where}, sample {key}")

    def _read(self, index: int, texts_only: bool) -> tuple[str, str, dict[str, bytes]]:
        """(shard, key, {extension: content}) of a sample."""
        row = self._index.slice(range(len(self))[index], 1).to_pylist()[0]
        shard = self.shards[row["shard"]]
        wanted = ("txt", "json") if texts_only else ("txt", "json", "npz", *_IMAGES)
        found = {}
        with shard.open("rb", buffering=0) as stream:
            for member in row["members"]:
                if member["extension"] in wanted:
                    stream.seek(member["offset"])
                    found[member["extension"]] = stream.read(member["size"])
        return str(shard), row["key"], found


def _captions(found: dict[str, bytes], where: str) -> tuple[str, ...]:
    if "json" in found:
        return captions_of_json(found["json"], where)
    if "txt" not in found:
        raise InputError(f"{where}: there is no caption: expected a .txt or .json beside the other files of the sample")
    try:
        return (found["txt"].decode("utf-8").strip(),)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: the caption is not UTF-8 text (byte {error.start})") from error


_MEMBER = pa.struct([("extension", pa.string()), ("offset", pa.int64()), ("size", pa.int64())])
_SCHEMA = pa.schema([("shard", pa.int32()), ("key", pa.string()), ("members", pa.list_(_MEMBER))])


def load_index(shards: Sequence[Path]) -> pa.Table:
    """Load the memory-mapped index of `shards`, built first if missing or if a shard changed (size or time).

    It is in $XDG_CACHE_HOME (else ~/.cache) / pyutils / pairs. Columns: shard int32 (position in `shards`), key text,
    members list of (extension, offset, size in bytes).

    Raises:
        InputError: a shard is missing, not a tar file, or truncated.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyutils" / "pairs"
    file = cache / f"{_fingerprint(shards)}.arrow"
    if not file.is_file():
        with atomic_write(file, "wb") as stream, pa.ipc.new_file(stream, _SCHEMA) as writer:
            for batch in _batches(shards):
                writer.write_batch(batch)
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _fingerprint(shards: Sequence[Path]) -> str:
    """A digest of the paths, sizes and times of `shards`."""
    digest = hashlib.sha256()
    for shard in shards:
        status = shard.stat()
        digest.update(f"{shard.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _batches(shards: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the index; files of a shard that follow each other and share their key make one row."""
    rows = (
        {
            "shard": number,
            "key": key,
            "members": [{"extension": ext, "offset": offset, "size": size} for _, ext, offset, size in members],
        }
        for number, shard in enumerate(shards)
        for key, members in groupby(_members(shard), key=lambda member: member[0])
    )
    while chunk := list(islice(rows, _CHUNK)):
        yield pa.RecordBatch.from_pylist(chunk, _SCHEMA)


def _members(shard: Path) -> Iterator[tuple[str, str, int, int]]:
    """Yield (key, extension, offset, size) of each file of a shard; only headers are read."""
    end = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                if member.offset_data + member.size > end:
                    raise InputError(f"{shard} is truncated within {member.name}: copy or download it again")
                folder, _, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                yield key, extension.lower(), member.offset_data, member.size
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header it has seen
    except tarfile.TarError as error:
        raise InputError(f"{shard} cannot be read as an uncompressed tar file: {error}") from error


def write_tar_shards(
    folder: PathLike, pairs: Iterable[Pair], pairs_per_shard: int = 5000, dtype: str = "float16"
) -> list[Path]:
    """Write `pairs` as `folder/pairs-000000.tar`, …, each atomically; returns the files.

    Captions become JSON, images `.jpg` (unchanged, whatever their format), regions `.npz` with features of `dtype`.
    One pair is held in memory at a time.

    Raises:
        InputError: a key contains a dot, where readers would cut it.
    """
    folder = Path(folder)
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
