"""The library that the three model packages share. Importing it sets up the CPU before Paddle is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyutils import runtime

if TYPE_CHECKING:
    from pyutils.engine.pipeline import pipeline

__all__ = ["pipeline"]

runtime.prepare()


def __getattr__(name: str) -> Any:
    # Imported when it is used: it needs Paddle, which takes seconds to load.
    if name == "pipeline":
        from pyutils.engine.pipeline import pipeline

        return pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
