"""ALBEF (Li et al., NeurIPS 2021, arXiv 2107.07651) on Paddle."""

import pyutils  # noqa: F401  prepares the CPU before Paddle loads
