"""One way to read from http(s), S3 and local files: open at an offset, or ask for size and reachability."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pyutils.download import s3, web
from pyutils.download.transport import CHUNK, Changed, DownloadError, Opened, Probe, SourceFailed, public_address


def open_source(url: str, offset: int, validator: str, timeout: float) -> AbstractContextManager[Opened]:
    """Open `url` at byte `offset`, provided that it is still the file with `validator` ("": unknown).

    Raises:
        SourceFailed, Interrupted, Changed: on entering; Interrupted also while reading.
        DownloadError: an unknown scheme.
    """
    return _transport(url).open_at(url, offset, validator, timeout)


def probe(url: str, timeout: float = 20.0) -> Probe:
    """Ask for size and reachability without downloading."""
    return _transport(url).probe(url, timeout)


def _transport(url: str) -> Any:
    scheme = urlsplit(url).scheme.lower()
    known = {"http": web, "https": web, "s3": s3, "": _Local, "file": _Local}
    if scheme not in known:
        raise DownloadError(f"{public_address(url)}: expected http://, https://, s3:// or a path, found {scheme}://")
    return known[scheme]


class _Local:
    """Files on this machine or a mounted disk, as a mirror."""

    @staticmethod
    @contextmanager
    def open_at(url: str, offset: int, validator: str, timeout: float) -> Iterator[Opened]:
        path = _path(url)
        try:
            stream, facts = path.open("rb"), path.stat()
        except OSError as error:
            raise SourceFailed(error.strerror or str(error)) from error
        with stream:
            if offset > facts.st_size:
                raise Changed(f"{path} has only {facts.st_size} bytes")
            stream.seek(offset)
            yield Opened(offset, facts.st_size, str(facts.st_mtime_ns), iter(lambda: stream.read(CHUNK), b""))

    @staticmethod
    def probe(url: str, timeout: float) -> Probe:
        path = _path(url)
        if not path.is_file():
            return Probe(url, problem="no such file")
        return Probe(url, path.stat().st_size, resumable=True)


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path) if url.lower().startswith("file:") else url).expanduser()
