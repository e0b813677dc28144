"""The error for wrong user input, and suggestions for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_NAMES_LISTED = 12


# C0, DEL and C1 but tab and newline, and the marks that reorder text: what makes a terminal do or show something else.
_CONTROLS = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def printable(text: str, lines: bool = True) -> str:
    """Return `text` for a terminal: control characters, as names from files and servers may hold, as escapes.

    `lines`: keep newlines; False for an identifier, which must not begin a line of its own.
    """
    return text.translate(_CONTROLS if lines else {**_CONTROLS, 10: "\\n", 0x2028: "\\u2028", 0x2029: "\\u2029"})


class InputError(ValueError):
    """Wrong data, configuration or command line, which the user can fix.

    The message names the file, the entry, the expected and the found value, and the remedy. Command lines print it
    without a traceback and exit with status 2 (`pyutils.config.command_line.run_main`).
    """


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the entry of `known` most similar to `name`, or None if none is similar."""
    names = sorted({str(item) for item in known})
    by_folded = {item.lower().replace("-", "_"): item for item in names}
    matches = difflib.get_close_matches(str(name).lower().replace("-", "_"), by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: `did you mean "vqa"?`, else the known names.

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
