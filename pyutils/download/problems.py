"""What can go wrong with a download, by what to do about it."""

from __future__ import annotations

from pyutils.errors import InputError


class DownloadError(InputError):
    """No source gave the file, or what arrived is not it. The message names every source and what each one answered."""


class SourceFailed(Exception):
    """This source will not give the file, however often it is asked: the next one may."""


class Interrupted(Exception):
    """The connection broke or the server is busy: worth another attempt.

    `wait` is what the server asks for, in seconds; None where it asks for nothing.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Changed(Exception):
    """The file on the server is not the one of which a part lies here: begin again."""
