"""ALBEF (Li et al., NeurIPS 2021, arXiv 2107.07651) on Paddle."""

import pyutils  # prepares the CPU before Paddle loads

if getattr(pyutils, "DISTRIBUTION", None) != "paddle-vl-suite":
    raise ImportError(
        f"{pyutils.__file__} is an unrelated package named pyutils. "
        "Uninstall it (pip uninstall pyutils) and install paddle-vl-suite again."
    )

__version__ = pyutils.__version__
