"""VisualBERT (Li et al., arXiv 1908.03557) on Paddle."""

import pyutils  # prepares the CPU before Paddle loads

if getattr(pyutils, "DISTRIBUTION", None) != "paddle-vl-suite":
    raise ImportError(
        f"{pyutils.__file__} is an unrelated package named pyutils. "
        "Uninstall it (pip uninstall pyutils) and install paddle-vl-suite again."
    )

__version__ = pyutils.__version__
