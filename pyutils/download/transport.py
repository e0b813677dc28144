"""Answers and failures of a download's source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from pyutils.errors import InputError

CHUNK = 1 << 20


@dataclass(frozen=True)
class Opened:
    """A source that has begun to send.

    start: byte that `chunks` begin with (0 when the source cannot resume). total: bytes of the complete file, None when
    unknown. validator: text that changes with the content (an ETag), "" when there is none.
    """

    start: int
    total: int | None
    validator: str
    chunks: Iterator[bytes]


def public_address(url: str) -> str:
    """Return `url` for messages: without user name, password, query and fragment, which may be secret."""
    if "://" not in url:
        return url  # a path
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def address_mark(url: str) -> str:
    """Return `public_address` and a digest of the query: equal for equal sources, without credentials."""
    query = urlsplit(url).query if "://" in url else ""
    return public_address(url) + (f"#{hashlib.sha256(query.encode()).hexdigest()[:16]}" if query else "")


@dataclass(frozen=True)
class Probe:
    """Answer of a source that was asked without downloading. `problem` is "" when it is reachable."""

    url: str
    size: int | None = None
    resumable: bool = False
    problem: str = ""


class DownloadError(InputError):
    """No source provided the file, or a wrong one. The message lists every source and its answer."""


class SourceFailed(Exception):
    """This source does not provide the file, however often it is asked; the next one may."""


class Interrupted(Exception):
    """The connection broke or the server is busy: worth another attempt.

    `wait`: seconds that the server asks to wait; None when it does not ask.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Changed(Exception):
    """The file on the server is not the one that was partly downloaded: start from scratch."""
