"""The layer that the three model packages share. Importing it prepares the CPU before Paddle loads."""

from pyutils import runtime

__version__ = "0.2.0"
DISTRIBUTION = "paddle-vl-suite"
"""Identifies this package: an unrelated one has the same import name."""

runtime.prepare()
