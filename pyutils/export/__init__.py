"""Export models as Paddle Inference programs (and ONNX files) checked against the model, and run them without it."""

from pyutils.export.predictor import StaticPredictor
from pyutils.export.program import Exportable, export

__all__ = ["Exportable", "StaticPredictor", "export"]
