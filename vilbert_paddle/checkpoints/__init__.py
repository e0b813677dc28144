"""Names of the tensors in every code base, conversion and loading: what the package announces to `pyutils.packages`."""

from vilbert_paddle.checkpoints.pretrained import VilbertIO
from vilbert_paddle.checkpoints.weights import convert, is_ours, to_names

__all__ = ["PRETRAINED", "convert", "is_ours", "to_names"]

PRETRAINED = VilbertIO()
