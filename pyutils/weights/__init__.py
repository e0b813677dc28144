"""Checkpoints of every code base: read them without executing pickles, and convert the names of their tensors.

`read(path)` returns the arrays of any weight file; `python -m pyutils.weights` converts, inspects and compares.
"""

from pyutils.formats.weight_files import read, read_object

__all__ = ["read", "read_object"]
