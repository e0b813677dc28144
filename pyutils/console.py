"""Console output of the main process: messages, progress bars and tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pyutils import runtime
from pyutils.errors import printable
from pyutils.formats.atomic import atomic_write


def on_terminal() -> bool:
    """Return True if the console is a terminal, which can show a progress bar."""
    return sys.stderr.isatty()


def progress(batches: Iterable[Any], title: str) -> Iterator[Any]:
    """Iterate over `batches`, with a progress bar on the terminal of the main process."""
    hidden = not (on_terminal() and runtime.is_main())
    return iter(tqdm(batches, desc=title, disable=hidden, leave=False, dynamic_ncols=True))


def say(message: str) -> None:
    """Print one line in the main process, above a progress bar if there is one; control characters as escapes."""
    if runtime.is_main():
        tqdm.write(printable(message), file=sys.stderr)


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Format rows of named values as a Markdown table; numbers are right-aligned, missing values empty."""
    columns = list(columns or dict.fromkeys(name for row in rows for name in row))
    texts = [[short(row[name]) if name in row else "" for name in columns] for row in rows]
    numeric = [all(isinstance(row.get(name, 0), (int, float)) for row in rows) for name in columns]
    widths = [max(3, len(name), *(len(line[i]) for line in texts)) for i, name in enumerate(columns)]
    rule = [("-" * (width - 1) + ":") if right else "-" * width for width, right in zip(widths, numeric)]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(cells, widths, numeric)]
        return "| " + " | ".join(padded) + " |"

    return "\n".join(line(cells) for cells in [columns, rule, *texts]) + "\n"


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write `markdown_table` to a file in the main process."""
    if runtime.is_main():
        with atomic_write(path) as stream:
            stream.write(markdown_table(rows, columns))


def short(value: Any) -> str:
    """Format `value`; a float with 4 decimals, or in scientific notation if it is very small or large."""
    if not isinstance(value, float):
        return printable(str(value), lines=False)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"
