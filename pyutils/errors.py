"""The error that speaks to the user, and the suggestion it ends with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_NAMES_LISTED = 12


class InputError(ValueError):
    """Data, a configuration or a command line that the user can put right.

    The message names the file, the entry, the expected and the found value, and the remedy. Command lines print it
    without a traceback and exit with status 2 (`pyutils.config.command_line.run_main`).
    """


def closest(name: str, known: Iterable[str]) -> str | None:
    """The member of `known` most like `name`, or None when none resembles it."""
    names = sorted({str(item) for item in known})
    by_folded = {item.lower().replace("-", "_"): item for item in names}
    matches = difflib.get_close_matches(str(name).lower().replace("-", "_"), by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else None


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an «unknown name» message: `did you mean "vqa"?`, else the known names, never empty.

    Use as `InputError(f"{path}: unknown split {name!r}: {nearest(name, splits)}")`.
    """
    names = sorted({str(item) for item in known})
    match = closest(name, names)
    if match is not None:
        return f'did you mean "{match}"?'
    if not names:
        return "none is known here"
    listed = ", ".join(names[:_MOST_NAMES_LISTED])
    more = len(names) - _MOST_NAMES_LISTED
    return f"known: {listed}" + (f" and {more} more" if more > 0 else "")
