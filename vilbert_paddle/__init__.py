"""ViLBERT (Lu et al., NeurIPS 2019, arXiv 1908.02265; 12-in-1, CVPR 2020, arXiv 1912.02315) on Paddle."""

import pyutils  # prepares the CPU before Paddle loads

if getattr(pyutils, "DISTRIBUTION", None) != "paddle-vl-suite":
    raise ImportError(
        f"{pyutils.__file__} is an unrelated package named pyutils. "
        "Uninstall it (pip uninstall pyutils) and install paddle-vl-suite again."
    )

__version__ = pyutils.__version__
