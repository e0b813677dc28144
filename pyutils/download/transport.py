"""Answers and failures of a download's source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
