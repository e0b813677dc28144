"""Models for serving: Paddle Inference programs (and ONNX files) that take any batch and length, checked against the
model they were made from, and a small predictor that needs neither the model's code nor its configuration."""

from pyutils.export.predictor import Predictor
from pyutils.export.program import Exportable, export

__all__ = ["Exportable", "Predictor", "export"]
