"""Names of the tensors in every code base, conversion and loading: what the package announces to `pyutils.packages`."""

from visualbert_paddle.checkpoints.pretrained import VisualBertIO
from visualbert_paddle.checkpoints.weights import convert, is_ours, to_names

__all__ = ["PRETRAINED", "convert", "is_ours", "to_names"]

PRETRAINED = VisualBertIO()
