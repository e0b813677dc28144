"""Looking for every image of a split before training begins, instead of when its batch is reached."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import count

from pyutils import distributed
from pyutils.console import say
from pyutils.data.images import Images
from pyutils.data.table import RecordTable
from pyutils.errors import InputError

_SECONDS_BETWEEN_REPORTS = 5.0
_MOST_NAMED = 5


def check_images(source: Images, records: RecordTable, fields: tuple[str, ...], split: str) -> None:
    """InputError, on every process, when images that `fields` of `records` name are not in `source`.

    The main process alone looks. `split` is the name for messages.
    """
    found = None
    if distributed.is_main():
        looked_for = count()
        missing = source.missing(_reported(records.distinct(*fields), looked_for, split))
        found = (len(missing), next(looked_for), missing[:_MOST_NAMED])
    number, images, named = distributed.all_gather_objects(found)[0]
    if number:
        raise InputError(
            f"split {split!r}: {number} of {images} images are not below data.images "
            f"({', '.join(map(str, source.roots))}), among them {', '.join(named)}: check data.images and that the "
            "archives are unpacked; data.check_images: false starts without looking"
        )


def _reported(keys: Iterable[str], looked_for: Iterator[int], split: str) -> Iterator[str]:
    """`keys`, each drawn number of `looked_for` one of them; how many there were is said every few seconds."""
    last = time.monotonic()
    for key in keys:
        number = next(looked_for)
        if time.monotonic() - last > _SECONDS_BETWEEN_REPORTS:
            say(f"split {split!r}: {number} images looked for, data.check_images: false would start without")
            last = time.monotonic()
        yield key
