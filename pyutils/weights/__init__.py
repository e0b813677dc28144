"""Checkpoints of every code base: reading them without running them, and the names their tensors have there and here.

`read(path)` gives the arrays of any weight file; `python -m pyutils.weights` converts, inspects and compares.
"""

from pyutils.formats.weight_files import read, read_object

__all__ = ["read", "read_object"]
