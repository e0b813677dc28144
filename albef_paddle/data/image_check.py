"""Checking before training that every image of a split exists, instead of failing when its batch is reached."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pyutils import distributed
from pyutils.console import say
from pyutils.data.images import Images
from pyutils.data.table import RecordTable
from pyutils.errors import InputError

_SECONDS_BETWEEN_REPORTS = 5.0
_MOST_NAMED = 5


def check_images(source: Images, records: RecordTable, fields: tuple[str, ...], split: str) -> None:
    """Raise InputError, on every process, if images named in `fields` of `records` are missing in `source`.

    Only the main process reads the directories. `split` is the name for messages.
    """
    checked = 0

    def reported() -> Iterator[str]:
        nonlocal checked
        last = time.monotonic()
        for key in records.distinct(*fields):
            checked += 1
            if time.monotonic() - last > _SECONDS_BETWEEN_REPORTS:
                say(f"split {split!r}: {checked} images checked; data.check_images: false would skip the check")
                last = time.monotonic()
            yield key

    missing = source.missing(reported()) if distributed.is_main() else []
    number, checked, named = distributed.all_gather_objects((len(missing), checked, missing[:_MOST_NAMED]))[0]
    if number:
        raise InputError(
            f"split {split!r}: {number} of {checked} images are not below data.images "
            f"({', '.join(map(str, source.roots))}), among them {', '.join(named)}: check data.images and that the "
            "archives are unpacked; data.check_images: false skips the check"
        )
