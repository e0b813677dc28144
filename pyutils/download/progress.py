"""Progress of a download: a bar on a terminal, a line every 20 seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

_SECONDS_BETWEEN_LINES = 20.0


def human_size(size: float | None) -> str:
    """Format a size: 1536 gives "1.5 KiB", None gives "?"."""
    if size is None:
        return "?"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


class Progress:
    """Report the progress of a download that starts at byte `start` of `total` (None: unknown)."""

    def __init__(self, name: str, start: int, total: int | None) -> None:
        self._name, self._done, self._total = name, start, total
        self._bar = None
        self._last_line = time.monotonic()
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=start, desc=name, unit="B", unit_scale=True, unit_divisor=1024)

    def advance(self, count: int) -> None:
        """Add `count` bytes."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print(f"{self._name}: {human_size(self._done)} of {human_size(self._total)}", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
