"""The library that the three model packages share. Importing it sets up the CPU before Paddle is imported."""

from pyutils import runtime

runtime.prepare()
