"""VisualBERT (Li et al., arXiv 1908.03557) on Paddle."""

import pyutils  # noqa: F401  prepares the CPU before Paddle loads
