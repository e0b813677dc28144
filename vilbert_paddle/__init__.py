"""ViLBERT (Lu et al., NeurIPS 2019, arXiv 1908.02265; 12-in-1, CVPR 2020, arXiv 1912.02315) on Paddle."""

import pyutils  # noqa: F401  prepares the CPU before Paddle loads
