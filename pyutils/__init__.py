"""The library that the three model packages share. Importing it sets up the CPU before Paddle is imported."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any


def _leave_callers_folder() -> None:
    """Take the current folder off the search path of `python -m`: a `yaml.py` in a folder of data would be executed.

    It stays where this package, or another one that is running, is in it.
    """
    if sys.argv[:1] != ["-m"] or not sys.path or sys.path[0] != os.getcwd():  # noqa: PTH109
        return  # argv[0] is "-m" while the module is looked up
    folder = sys.path[0]
    for name, module in list(sys.modules.items()):
        parent = os.path.dirname(getattr(module, "__file__", None) or "")  # noqa: PTH120 - pathlib is not yet imported
        if "." not in name and folder in (parent, os.path.dirname(parent)):  # noqa: PTH120
            return
    del sys.path[0]


_leave_callers_folder()  # before anything else is imported

from pyutils import runtime  # noqa: E402

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
