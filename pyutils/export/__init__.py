"""Export models for serving: Paddle Inference programs (and ONNX files) for any batch size and length, checked against
the model, and a small predictor that needs neither the model's code nor its configuration."""

from pyutils.export.predictor import Predictor
from pyutils.export.program import Exportable, export

__all__ = ["Exportable", "Predictor", "export"]
