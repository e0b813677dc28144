"""The library that the three model packages share. Importing it sets up the CPU before Paddle is imported."""

from pyutils import runtime

__version__ = "0.2.0"
DISTRIBUTION = "paddle-vl-suite"
"""Identifies this package: an unrelated one has the same import name."""

runtime.prepare()
