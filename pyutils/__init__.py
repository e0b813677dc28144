"""The layer that the three model packages share. Importing it prepares the CPU before Paddle loads."""

from pyutils import runtime

runtime.prepare()
