"""What to do with records whose image has no features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pyutils.data.features.source import RegionSource
from pyutils.errors import InputError, nearest

POLICIES = ("error", "skip")
_NAMED = 5


@dataclass(frozen=True)
class Kept:
    """Which records can be used."""

    indices: np.ndarray
    """[kept] int64, positions of the records whose images are all there."""
    skipped: int
    """Number of records left out."""
    missing_images: int
    """Number of distinct images that are not there."""

    def describe(self) -> str:
        """A line for the log."""
        return f"{len(self.indices)} records kept, {self.skipped} skipped for want of {self.missing_images} images"


def keep_available(
    source: RegionSource, *image_keys: Iterable[str], policy: str = "error", option: str = "data.missing"
) -> Kept:
    """Compare the images that records name with those a source holds.

    Args:
        source: the features.
        image_keys: one sequence of keys a record's image: one for most tasks, two (left, right) for pairs.
        policy: `error` refuses any missing image, `skip` leaves its records out.
        option: name of the setting, for the message.

    Raises:
        InputError: images are missing and the policy is `error`, all records would be skipped, or an unknown policy.
    """
    if policy not in POLICIES:
        raise InputError(f"{option} is '{policy}': {nearest(policy, POLICIES)}")
    columns = [[str(key) for key in column] for column in image_keys]
    distinct = list(dict.fromkeys(key for column in columns for key in column))
    absent = set(source.missing(distinct))
    total = len(columns[0]) if columns else 0
    usable = np.ones(total, dtype=bool)
    for column in columns:
        usable &= np.fromiter((key not in absent for key in column), dtype=bool, count=total)
    kept = Kept(np.flatnonzero(usable), int(total - usable.sum()), len(absent))
    if absent and (policy == "error" or not len(kept.indices)):
        first = ", ".join([key for key in distinct if key in absent][:_NAMED])
        remedy = (
            f"set {option}: skip to leave their records out"
            if policy == "error"
            else "no record would be left: is this the folder of another split?"
        )
        raise InputError(
            f"{source.path} has no features for {len(absent)} of {len(distinct)} images ({kept.skipped} of {total} "
            f"records), among them {first}: {remedy}"
        )
    return kept
