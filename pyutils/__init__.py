"""The library that the three model packages share. Importing it sets up the CPU before Paddle is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyutils import runtime

if TYPE_CHECKING:
    from pyutils.interface import *  # noqa: F403

__version__ = "0.2.0"
DISTRIBUTION = "paddle-vl-suite"
"""Identifies this package: an unrelated one has the same import name."""

# The names of `interface`, here again so that importing pyutils does not import Paddle, which takes seconds.
__all__ = ["Trainer", "load_config", "load_task", "pipeline"]  # noqa: F405

runtime.prepare()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pyutils import interface

    return getattr(interface, name)
