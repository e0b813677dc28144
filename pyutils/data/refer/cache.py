"""A cache of the tables, keyed by the content of the two files they came from.

One Arrow file an index: columns only, nothing in it is ever executed, and it is mapped rather than read. It is written
atomically; one that cannot be read is rebuilt.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pyarrow as pa

from pyutils.data.refer.layout import ReferFiles
from pyutils.data.refer.tables import TABLE_NAMES, ReferTables, read_tables
from pyutils.formats.atomic import PathLike, atomic_write

_FORMAT = b"refer-tables-1"
_CHUNK = 1 << 22


def default_folder() -> Path:
    """`$PYUTILS_CACHE/refer`, else `~/.cache/paddle-vl-suite/refer`."""
    base = os.environ.get("PYUTILS_CACHE") or Path.home() / ".cache" / "paddle-vl-suite"
    return Path(base).expanduser() / "refer"


def content_key(files: ReferFiles) -> str:
    """Hexadecimal sha256 over the format of the tables and the bytes of both files."""
    digest = hashlib.sha256(_FORMAT)
    for path in (files.refs, files.instances):
        digest.update(b"%d:" % path.stat().st_size)
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def load_tables(files: ReferFiles, cache: PathLike | None = None) -> ReferTables:
    """The tables of `files`, from the folder `cache` when it holds them, else read and put there.

    A cache that cannot be written (a read-only home) costs the time of reading, nothing else. Raises what
    `read_tables` raises.
    """
    path = Path(cache or default_folder()) / f"{files.dataset}-{files.split_by}-{content_key(files)[:32]}.arrow"
    tables = _read(path)
    if tables is None:
        tables = read_tables(files)
        try:
            _write(path, tables)
        except OSError:
            return tables
    return tables


def _write(path: Path, tables: ReferTables) -> None:
    with atomic_write(path, "wb") as stream:
        for name in TABLE_NAMES:
            table = getattr(tables, name).combine_chunks()
            with pa.ipc.new_stream(stream, table.schema) as writer:
                writer.write_table(table)


def _read(path: Path) -> ReferTables | None:
    """The cached tables, or None when there are none or they are damaged."""
    if not path.is_file():
        return None
    try:
        source = pa.memory_map(str(path))
        tables = [pa.ipc.open_stream(source).read_all() for _ in TABLE_NAMES]
        for table in tables:
            table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):
        return None
    return ReferTables(*tables)
