"""Download one file.

The bytes are written to `NAME.part` beside the destination, which is renamed only when it is complete, has the expected
size and checksum, and opens. A download that was interrupted, killed or ran out of disk space resumes where it stopped.
"""

from __future__ import annotations

import errno
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyutils.download.partial import Partial, partial_file
from pyutils.download.progress import Progress, human_size
from pyutils.download.sources import open_source
from pyutils.download.transport import (
    Changed,
    DownloadError,
    Interrupted,
    Opened,
    SourceFailed,
    address_mark,
    public_address,
)
from pyutils.download.verify import Expected, check_opens
from pyutils.formats.atomic import PathLike


@dataclass(frozen=True)
class Patience:
    """How long to retry one source.

    attempts: connections in a row without a byte. wait: seconds before the second one, doubled for each further one up
    to `longest_wait`. timeout: seconds without a byte.
    """

    attempts: int = 5
    wait: float = 1.0
    longest_wait: float = 60.0
    timeout: float = 30.0


def fetch(
    sources: str | Sequence[str],
    destination: PathLike,
    size: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    accept_mismatch: bool = False,
    check: bool = True,
    patience: Patience | None = None,
) -> Path:
    """Download `destination` from the first of `sources` that provides it; return its path.

    Args:
        sources: URLs (http, https, s3, file) or paths, tried in order.
        destination: the file to write. Nothing is downloaded when it exists and is as expected.
        size, sha256, md5: expected bytes and hexadecimal checksums, where known.
        accept_mismatch: keep a file whose size or checksum differs, with a warning that names both values.
        check: also open the file (`pyutils.download.verify.check_opens`).
        patience: attempts, waits and timeout of each source.

    Raises:
        DownloadError: no source provided the file (the message lists each source and its answer), or the disk is full.
            The bytes so far stay in `NAME.part` for the next call; `destination` itself is never incomplete.
    """
    target = Path(destination).expanduser()
    expected = Expected(size, sha256, md5)
    sources = [sources] if isinstance(sources, str) else list(sources)
    if _is_there(target, expected, accept_mismatch):
        return target
    with partial_file(target) as partial:
        if _is_there(target, expected, accept_mismatch):
            return target
        job = _Job(partial, expected, accept_mismatch, check, patience or Patience())
        failures = []
        for url in sources:
            try:
                job.run(url)
                return target
            except SourceFailed as failure:
                failures.append(f"  {public_address(url)}: {failure}")
        answers = "\n".join(failures or ["no source is known"])
        advice = "put the file there yourself, or set PYUTILS_MIRRORS to a mirror"
        raise DownloadError(f"{target}: every source failed\n{answers}\n{advice}")


def _is_there(target: Path, expected: Expected, accept_mismatch: bool) -> bool:
    """True when `target` need not be downloaded. One that differs is replaced once the new one is complete."""
    if not target.is_file():
        return False
    problem = expected.mismatch(target)
    if problem and accept_mismatch:
        warnings.warn(f"{target}: {problem}; kept because of accept_mismatch", stacklevel=3)
    return not problem or accept_mismatch


@dataclass
class _Job:
    """The download of one file."""

    partial: Partial
    expected: Expected
    accept_mismatch: bool
    check: bool
    patience: Patience

    def run(self, url: str) -> None:
        """Download the file from `url`. Raises SourceFailed, or DownloadError on a full disk."""
        if self.partial.complete and self._may_resume(url):
            if self._judge(url, refuse=False):
                return
            self.partial.discard()
        if self.partial.size and not self._may_resume(url):
            self.partial.discard()
        self._transfer(url)
        self._judge(url, refuse=True)

    def _may_resume(self, url: str) -> bool:
        """Resume from another mirror only where a checksum will detect that the two differ."""
        return self.partial.origin.address == address_mark(url) or bool(self.expected.sha256 or self.expected.md5)

    def _judge(self, url: str, refuse: bool) -> bool:
        """Rename the complete file if it is as expected. A wrong one stays as `.part`, so that the user can accept it
        without another download; return False for it, or with `refuse` raise SourceFailed."""
        problem = self.expected.mismatch(self.partial.path)
        if problem and not self.accept_mismatch:
            if refuse:
                raise SourceFailed(f"{problem}; if that is right, run again with --accept_mismatch")
            return False
        if self.check:
            try:
                check_opens(self.partial.path, self.partial.target.name)
            except SourceFailed:
                self.partial.discard()
                raise
        if problem:
            source = public_address(url)
            warnings.warn(
                f"{self.partial.target} from {source}: {problem}; kept because of accept_mismatch", stacklevel=4
            )
        self.partial.finish()
        return True

    def _transfer(self, url: str) -> None:
        """Read until all bytes are here, reconnecting after failures; a connection that sends bytes resets the count of
        attempts."""
        failed = 0
        while True:
            before = self.partial.size
            try:
                self._read_once(url)
                return
            except Changed:
                self.partial.discard()
                failed += 1
                problem = Interrupted("the file changed on the server")
            except Interrupted as error:
                failed = 1 if self.partial.size > before else failed + 1
                problem = error
            if failed >= self.patience.attempts:
                raise SourceFailed(f"{problem} ({failed} attempts, {human_size(self.partial.size)} here)") from problem
            pause = self.patience.wait * 2 ** (failed - 1) if problem.wait is None else problem.wait
            time.sleep(min(pause, self.patience.longest_wait))

    def _read_once(self, url: str) -> None:
        origin, here = self.partial.origin, self.partial.size
        validator = origin.validator if origin.address == address_mark(url) else ""
        with open_source(url, here, validator, self.patience.timeout) as opened:
            self._compare(url, opened, here)
            if opened.start != here:
                here = 0
            self._make_sure_of_room(opened.total, here)
            self.partial.note(url, opened.validator, opened.total)
            self._append(opened, here)
        if opened.total is not None and self.partial.size < opened.total:
            raise Interrupted(f"the connection ended at byte {self.partial.size} of {opened.total}")
        if opened.total is None:
            self.partial.note(url, opened.validator, self.partial.size)

    def _compare(self, url: str, opened: Opened, here: int) -> None:
        """Raise SourceFailed for another file than expected, Changed for another one than was partly downloaded."""
        wanted, origin = self.expected.size, self.partial.origin
        if wanted is not None and opened.total is not None and opened.total != wanted and not self.accept_mismatch:
            raise SourceFailed(
                f"expected {wanted} bytes, the server offers {opened.total}; if that is right, run again with "
                "--accept_mismatch"
            )
        if not opened.start:
            return
        other_size = None not in (origin.total, opened.total) and origin.total != opened.total
        other_content = (
            origin.address == address_mark(url) and origin.validator and origin.validator != opened.validator
        )
        if other_size or other_content or (opened.total is not None and here > opened.total):
            raise Changed("the file on the server is not the one that was partly downloaded")

    def _append(self, opened: Opened, here: int) -> None:
        with self.partial.open() as stream:
            stream.truncate(here)
            stream.seek(here)
            with Progress(self.partial.target.name, here, opened.total) as shown:
                for chunk in opened.chunks:
                    try:
                        stream.write(chunk)
                        stream.flush()
                    except OSError as error:
                        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                            raise
                        raise DownloadError(self._full(opened.total, stream.tell())) from error
                    shown.advance(len(chunk))

    def _make_sure_of_room(self, total: int | None, here: int) -> None:
        free = shutil.disk_usage(self.partial.target.parent).free
        if total is not None and total - here > free:
            raise DownloadError(self._full(total, here))

    def _full(self, total: int | None, here: int) -> str:
        folder = self.partial.target.parent
        free = human_size(shutil.disk_usage(folder).free)
        missing = human_size(total - here) if total is not None else "more"
        return (
            f"{self.partial.target}: the disk is full: {missing} still to come, {free} free in {folder}; make room and "
            "run again to resume, or choose another directory with --root"
        )
